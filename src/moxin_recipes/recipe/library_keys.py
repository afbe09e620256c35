"""How much each key of transformers' and TRL's dataclasses decides, and each of a launcher's file.

Each name stands in one of three lists. The classes are explained in `fields.py`. A test compares
the lists with the installed libraries: a field that a new release brings fails it until somebody
has put the name into a list. Until then it counts as *result*, so that nothing wrong is gone on
from.
"""

from moxin_recipes.recipe.fields import Class

_RESULT = """
accelerator_config adam_beta1 adam_beta2 adam_epsilon average_tokens_across_devices bf16
bf16_full_eval data_seed dataloader_drop_last dataloader_in_order deepspeed fp16 fp16_full_eval fsdp
fsdp_config greater_is_better ignore_data_skip label_names label_smoothing_factor learning_rate
length_column_name load_best_model_at_end lr_scheduler_kwargs lr_scheduler_type max_grad_norm
max_steps metric_for_best_model neftune_noise_alpha num_train_epochs optim optim_args
optim_target_modules remove_unused_columns restore_callback_states_from_checkpoint
resume_from_checkpoint seed tf32 train_sampling_strategy use_cache warmup_steps weight_decay

eval_delay eval_on_start eval_steps eval_strategy

assistant_only_loss chat_template_path completion_only_loss dataset_kwargs dataset_text_field
eos_token eval_packing loss_type max_length model_init_kwargs packing packing_strategy pad_token
router_aux_loss_coef shuffle_dataset truncation_mode trust_remote_code

beta disable_dropout discopop_tau f_alpha_divergence_coef f_divergence_type label_smoothing ld_alpha
loss_weights ref_model_mixup_alpha ref_model_sync_steps sync_ref_model use_weighting

cast_lm_head_to_fp32 chat_template_kwargs delta entropy_coef entropy_coef_delta entropy_coef_max
entropy_coef_min entropy_target epsilon epsilon_high generation_batch_size generation_kwargs
importance_sampling_level mask_truncated_completions max_completion_length
max_tool_calling_iterations min_p multi_objective_aggregation num_generations num_generations_eval
num_iterations off_policy_mask_threshold repetition_penalty reward_weights sapo_temperature_neg
sapo_temperature_pos scale_rewards steps_per_generation temperature top_entropy_quantile top_k top_p
use_adaptive_entropy use_bias_correction_kl use_vllm vespo_k_neg vespo_k_pos vespo_lambda_neg
vespo_lambda_pos vllm_importance_sampling_cap vllm_importance_sampling_clip_max
vllm_importance_sampling_clip_min vllm_importance_sampling_correction vllm_importance_sampling_mode
vllm_max_model_length vllm_structured_outputs_regex

bnb_4bit_quant_storage bnb_4bit_quant_type dtype load_in_4bit load_in_8bit lora_alpha lora_dropout
lora_modules_to_save lora_r lora_target_modules lora_target_parameters lora_task_type model_revision
use_bnb_nested_quant use_dora use_peft use_rslora model_name_or_path
"""

_ROUNDING = """
activation_checkpointing activation_checkpointing_kwargs activation_offloading auto_find_batch_size
ddp_backend ddp_bucket_cap_mb full_determinism gradient_accumulation_steps gradient_checkpointing
gradient_checkpointing_kwargs liger_kernel_config parallelism_config per_device_eval_batch_size
per_device_train_batch_size torch_compile torch_compile_backend torch_compile_mode use_liger_kernel

attn_implementation pad_to_multiple_of padding_free precompute_ref_batch_size
precompute_ref_log_probs

cache_implementation ds3_gather_for_generation transformers_continuous_batching_config
use_transformers_continuous_batching use_transformers_paged vllm_mode vllm_model_impl
vllm_tensor_parallel_size
"""

_HARMLESS = """
batch_eval_metrics dataloader_multiprocessing_context dataloader_num_workers
dataloader_persistent_workers dataloader_pin_memory dataloader_prefetch_factor ddp_broadcast_buffers
ddp_find_unused_parameters ddp_static_graph ddp_timeout debug disable_tqdm do_eval do_predict
do_train enable_jit_checkpoint eval_accumulation_steps eval_do_concat_batches
eval_use_gather_object hub_always_push hub_model_id hub_private_repo hub_revision hub_strategy
hub_token include_for_metrics
include_num_input_tokens_seen local_rank log_level log_level_replica log_on_each_node
logging_first_step logging_nan_inf_filter logging_steps logging_strategy output_dir
prediction_loss_only project push_to_hub report_to run_name save_on_each_node save_only_model
save_steps save_strategy save_total_limit skip_memory_metrics torch_empty_cache_steps
trackio_bucket_id trackio_space_id trackio_static_space_id use_cpu

dataset_num_proc

log_completions log_completions_hub_repo log_multimodal log_unique_prompts num_completions_to_print
vllm_enable_sleep_mode vllm_gpu_memory_utilization vllm_group_port vllm_server_base_url
vllm_server_host vllm_server_port vllm_server_timeout
"""

# Of a file for `accelerate launch`. `launcher.py` reads precision and reductions out of it.
_LAUNCHER_RESULT = "mixed_precision downcast_bf16 fp8_config deepspeed_config megatron_lm_config"
_LAUNCHER_ROUNDING = """
distributed_type dynamo_config fsdp_config num_processes parallelism_config use_cpu
"""
_LAUNCHER_HARMLESS = """
command_file commands compute_environment debug enable_cpu_affinity gpu_ids machine_rank
main_process_ip main_process_port main_training_function mpirun_config num_machines rdzv_backend
same_network tpu_env tpu_name tpu_use_cluster tpu_use_sudo tpu_vm tpu_zone
"""


def _table(**names: str) -> dict[str, Class]:
    table: dict[str, Class] = {}
    kind: Class
    for kind in ("result", "rounding", "harmless"):
        table |= dict.fromkeys(names[kind].split(), kind)
    return table


LIBRARY_KEYS = _table(result=_RESULT, rounding=_ROUNDING, harmless=_HARMLESS)
LAUNCHER_KEYS = _table(
    result=_LAUNCHER_RESULT, rounding=_LAUNCHER_ROUNDING, harmless=_LAUNCHER_HARMLESS
)
