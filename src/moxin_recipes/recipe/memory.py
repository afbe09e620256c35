"""What one GPU holds while a stage trains, in bytes, by arithmetic; all of it is counted here."""

from collections.abc import Iterator
from dataclasses import dataclass

from moxin_recipes.recipe.keys.init import InitKeys

FLOAT32, BFLOAT16 = 4, 2  # bytes
PIECE = 2**24  # logits of a piece where the loss is computed in pieces (training/loss.py)


@dataclass(frozen=True)
class Shape:
    """The sizes of a Mistral that its parameters follow from."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    groups: int  # heads of keys and values
    tied: bool

    @classmethod
    def of_init(cls, keys: InitKeys, vocabulary: int) -> "Shape":
        """That of a stage that draws weights at random (`method: scratch`)."""
        return cls(
            vocabulary=vocabulary,
            hidden=keys.hidden_size or 0,
            intermediate=keys.intermediate_size or 0,
            layers=keys.num_hidden_layers or 0,
            heads=keys.num_attention_heads or 1,
            groups=keys.num_key_value_heads or 1,
            tied=keys.tie_word_embeddings,
        )

    @property
    def key_width(self) -> int:
        """Numbers of a token's key, and of its value, over all heads."""
        return self.hidden // self.heads * self.groups

    @property
    def layer(self) -> int:
        """Parameters of one layer: attention, MLP, two norms."""
        attention = 2 * self.hidden * (self.hidden + self.key_width)
        return attention + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def ends(self) -> int:
        """Parameters outside of the layers: embeddings, head, last norm."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden

    @property
    def parameters(self) -> int:
        """All parameters, tied ones once."""
        return self.layers * self.layer + self.ends

    def adapter(self, rank: int, modules: list[str]) -> int:
        """Parameters of LoRA's two matrices for each of these modules, in all layers."""
        between = {
            **dict.fromkeys(("q_proj", "o_proj"), 2 * self.hidden),
            **dict.fromkeys(("k_proj", "v_proj"), self.hidden + self.key_width),
            **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), self.hidden + self.intermediate),
        }
        names = list(between) if "all-linear" in modules else modules
        return self.layers * rank * sum(between[name] for name in names)

    @property
    def activations(self) -> int:
        """Bytes a token that one layer keeps for its backward pass, with flash attention.

        In bfloat16: what each matrix multiplies, its results, and the two residual sums.
        """
        return BFLOAT16 * (7 * self.hidden + 2 * self.key_width + 4 * self.intermediate)


@dataclass(frozen=True)
class Step:
    """What decides the memory of a training step beside the model's shape."""

    shards: int  # GPUs that share weights, gradients and optimizer state
    rows: int  # sequences of a micro-batch that are in the model together
    tokens: int  # of a sequence, at most
    sharded: bool  # by FSDP, which computes in gathered copies
    mixed: bool  # computes in bfloat16, with float32 weights
    checkpointing: bool  # a layer keeps its input alone, and is computed again
    fused_loss: bool  # logits come in pieces
    moments: int = 2  # numbers that the optimizer keeps a weight; AdamW: 2
    trained: int | None = None  # parameters that are trained, if not all: an adapter's
    reference: bool = False  # a second model, that is not trained, stays beside the first


def held(shape: Shape, step: Step) -> Iterator[tuple[str, str, int]]:
    """(what, its arithmetic, bytes) of each thing that a GPU holds at the same time.

    Float32 weights, gradients and moments, each in shares of `shards`. Neither the allocator's
    margin nor the communication library's buffers are counted.
    """
    parameters, shards = shape.parameters, step.shards
    trained = parameters if step.trained is None else step.trained
    own = parameters + (step.trained or 0)
    share = f" / {shards}" if shards > 1 else ""
    yield "weights", f"4 × {own:,}{share}", FLOAT32 * own // shards
    yield "gradients", f"4 × {trained:,}{share}", FLOAT32 * trained // shards
    if step.moments:
        count = FLOAT32 * step.moments
        yield "optimizer", f"{count} × {trained:,}{share}", count * trained // shards
    if step.reference:
        yield "reference model", f"4 × {parameters:,}{share}", FLOAT32 * parameters // shards
    if step.sharded:
        # The layer at work and the next one are gathered; embeddings and head stay. Gradients of
        # one layer are whole until they are reduced.
        size = BFLOAT16 if step.mixed else FLOAT32
        gathered = 2 * shape.layer + shape.ends
        yield "gathered", f"{size} × {gathered:,}", size * gathered
        whole = max(shape.layer, shape.ends)
        yield "gradients not yet reduced", f"{size} × {whole:,}", size * whole
    size = BFLOAT16 if step.mixed else FLOAT32
    places = step.rows * step.tokens
    of_layer = shape.activations * size // BFLOAT16
    if step.checkpointing:
        kept = shape.layers * shape.hidden * size
        yield "layers' inputs", f"{kept:,} × {places:,}", kept * places
        yield "one layer's activations", f"{of_layer:,} × {places:,}", of_layer * places
    else:
        kept = shape.layers * of_layer
        yield "activations", f"{kept:,} × {places:,}", kept * places
    logits = min(PIECE, places * shape.vocabulary) if step.fused_loss else places * shape.vocabulary
    # In float32, and their gradients.
    yield "logits", f"2 × 4 × {logits:,}", 2 * FLOAT32 * logits
    if step.fused_loss and step.mixed:
        head = shape.vocabulary * shape.hidden
        # Gradients of the pieces are added up in float32.
        yield "head in float32, its gradient", f"2 × 4 × {head:,}", 2 * FLOAT32 * head
