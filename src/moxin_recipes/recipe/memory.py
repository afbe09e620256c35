"""What one GPU holds while a stage trains, in bytes, by arithmetic; all of it is counted here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from moxin_recipes.recipe.keys.init import InitKeys

FLOAT32, BFLOAT16 = 4, 2  # bytes
PIECE = 2**27  # logits that our loss has at a time on a GPU: 4,194 rows of 32,000, 1.6 GB in all
TILE = 4096  # rows of logits that TRL's loss has at a time (trl/kernels/chunked_logprob.py)


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

    def adapter(self, rank: int, modules: list[str]) -> int | None:
        """Parameters of LoRA's two matrices in all layers; None where other modules have some, too.

        `modules` are ends of paths, as for PEFT; `all-linear` is all of the layers' matrices.
        """
        mlp = self.hidden + self.intermediate
        widths = {
            **dict.fromkeys((".self_attn.q_proj", ".self_attn.o_proj"), 2 * self.hidden),
            **dict.fromkeys(
                (".self_attn.k_proj", ".self_attn.v_proj"), self.hidden + self.key_width
            ),
            **dict.fromkeys((".mlp.gate_proj", ".mlp.up_proj", ".mlp.down_proj"), mlp),
        }
        if modules == ["all-linear"]:
            return self.layers * rank * sum(widths.values())
        found = [{path for path in widths if path.endswith(f".{one}")} for one in modules]
        if not all(found):  # the head, say
            return None
        return self.layers * rank * sum(widths[path] for path in set().union(*found))

    def kept(self, size: int) -> int:
        """Bytes a token that one layer keeps for its backward pass, in numbers of `size` bytes.

        With flash attention: two normalised inputs before and after their scale, the queries, what
        attention makes of them, keys, values, and four of the MLP's width; in float32, what the
        two norms read.
        """
        numbers = 6 * self.hidden + 2 * self.key_width + 4 * self.intermediate
        return size * numbers + 2 * FLOAT32 * self.hidden

    def kept_selectively(self, size: int) -> int:
        """The same under selective checkpointing (training/selective.py).

        The layer's input, keys, what attention makes of them, its product, one of the MLP's width;
        a number of each head in float32.
        """
        numbers = 3 * self.hidden + self.key_width + self.intermediate
        return size * numbers + FLOAT32 * self.heads

    def in_flight(self, size: int) -> int:
        """Bytes a token of the gradients at the widest place of a layer's backward pass."""
        return size * (self.hidden + 2 * self.intermediate)


@dataclass(frozen=True)
class Step:
    """What decides the memory of a training step beside the model's shape."""

    shards: int  # GPUs that share weights, gradients and optimizer state
    rows: int  # sequences of a micro-batch that are in the model together
    tokens: int  # of a sequence, at most
    sharded: bool  # by FSDP, which computes in gathered copies
    mixed: bool  # computes in bfloat16, with float32 weights
    checkpointing: bool  # a layer keeps its input alone, and is computed again
    pieces: bool  # the loss is ours, not that of TRL's DPO and GRPO; neither has all logits at once
    selective: bool = False  # checkpointing that keeps a part of what a layer computes
    moments: int = 2  # numbers that the optimizer keeps a weight; AdamW: 2
    trained: int | None = None  # parameters that are trained, if not all: an adapter's
    frozen: int = FLOAT32  # bytes of a weight under an adapter
    buckets: bool = False  # DDP reduces gradients in a copy of them
    whole: bool = False  # gradients stay whole on each GPU while they accumulate
    loads_reference: bool = False  # FSDP shares a second model out before the first step
    reference: bool = False  # a second model, that is not trained, stays beside the first

    @property
    def size(self) -> int:
        """Bytes of a number that is computed."""
        return BFLOAT16 if self.mixed else FLOAT32


class Part(NamedTuple):
    """Something that a GPU holds: in which moment of a step, what, its arithmetic, bytes."""

    moment: str
    what: str
    arithmetic: str
    size: int


ALWAYS = "always"
START = "the start"  # before the model that is trained is there


def held(shape: Shape, step: Step) -> list[Part]:
    """What a GPU holds through the whole step, and what in each of the moments that need most.

    Neither the allocator's margin nor the communication library's buffers are counted.
    """
    parts = [Part(ALWAYS, *part) for part in _always(shape, step)]
    parts += [Part("loss", *part) for part in [_inputs(shape, step), *_loss(shape, step)]]
    parts += [
        Part("a layer's backward pass", *part)
        for part in [_inputs(shape, step), *_backward(shape, step)]
    ]
    # TRL makes one unit of a reference: FSDP shares it out, and gathers it, as a whole.
    if step.loads_reference:
        size = FLOAT32 * shape.parameters
        parts.append(Part(START, "reference, whole", f"4 × {shape.parameters:,}", size))
    if step.reference and step.sharded:
        what = ("gathered whole", f"{step.size} × {shape.parameters:,}")
        parts.append(Part("the reference's pass", *what, step.size * shape.parameters))
    return parts


def most(parts: list[Part]) -> tuple[int, str]:
    """(bytes, moment) of the moment in which a GPU holds most, with what it always holds."""
    always = sum(part.size for part in parts if part.moment == ALWAYS)
    sums: dict[str, int] = {}
    for part in parts:
        if part.moment != ALWAYS:
            before = 0 if part.moment == START else always
            sums[part.moment] = sums.get(part.moment, before) + part.size
    moment = max(sums, key=lambda name: sums[name])
    return sums[moment], moment


def _always(shape: Shape, step: Step) -> Iterator[tuple[str, str, int]]:
    """Float32 weights, gradients and moments, each in shares of `shards`; what copies there are."""
    parameters, shards = shape.parameters, step.shards
    share = f" / {shards}" if shards > 1 else ""
    if step.trained is None:
        trained = parameters
        yield "weights", f"4 × {parameters:,}{share}", FLOAT32 * parameters // shards
    else:
        trained, frozen = step.trained, step.frozen
        yield "weights", f"{frozen} × {parameters:,}{share}", frozen * parameters // shards
        yield "adapter", f"4 × {trained:,}{share}", FLOAT32 * trained // shards
    if step.mixed and not step.sharded:
        yield "weights as autocast keeps them", f"2 × {parameters:,}", BFLOAT16 * parameters
    yield "gradients", f"4 × {trained:,}{share}", FLOAT32 * trained // shards
    if step.buckets or step.whole:
        what = "gradients in DDP's buckets" if step.buckets else "gradients, whole"
        yield what, f"4 × {trained:,}", FLOAT32 * trained
    if step.moments:
        count = FLOAT32 * step.moments
        yield "optimizer", f"{count} × {trained:,}{share}", count * trained // shards
    if step.reference:
        yield "reference model", f"4 × {parameters:,}{share}", FLOAT32 * parameters // shards


def _inputs(shape: Shape, step: Step) -> tuple[str, str, int]:
    """What layers keep from their forward pass: their inputs, or all their activations."""
    places = step.rows * step.tokens
    if step.selective:
        what, a_layer = "a part of the activations", shape.kept_selectively(step.size)
    elif step.checkpointing:
        what, a_layer = "layers' inputs", step.size * shape.hidden
    else:
        what, a_layer = "activations", shape.kept(step.size)
    kept = shape.layers * a_layer
    return what, f"{kept:,} × {places:,}", kept * places


def _loss(shape: Shape, step: Step) -> Iterator[tuple[str, str, int]]:
    """A piece of the logits and its gradient, and what the head needs for them."""
    size, rows, head = step.size, step.rows * step.tokens, shape.vocabulary * shape.hidden
    norm = (FLOAT32 + 2 * size) * shape.hidden
    yield "last norm", f"{norm:,} × {rows:,}", norm * rows
    if step.pieces:
        logits = min(PIECE, rows * shape.vocabulary)
        # Logits and gradients in float32; in 16 bits both of them before they are cast, too.
        each = 2 * FLOAT32 + (2 * BFLOAT16 if step.mixed else 0)
        yield "logits, their gradients", f"{each} × {logits:,}", each * logits
        # The head in float32, and its gradients as they are added up: sum, piece, new sum.
        count = 4 if step.mixed and rows * shape.vocabulary > PIECE else 2
        yield "head in float32, its gradients", f"{count} × 4 × {head:,}", count * FLOAT32 * head
    else:
        logits = min(TILE, rows) * shape.vocabulary
        yield "logits, their gradients", f"2 × {size} × {logits:,}", 2 * size * logits
        yield "head's gradients", f"(4 + {size}) × {head:,}", (FLOAT32 + size) * head
    if step.sharded:
        yield "head, gathered", f"{size} × {head:,}", size * head
        yield "last layer, gathered", f"{size} × {shape.layer:,}", size * shape.layer


def _backward(shape: Shape, step: Step) -> Iterator[tuple[str, str, int]]:
    """One layer's activations, gathered weights, and gradients on their way to their shares."""
    places, size = step.rows * step.tokens, step.size
    layer = shape.in_flight(size) + (shape.kept(size) if step.checkpointing else 0)
    yield "activations of one layer, gradients", f"{layer:,} × {places:,}", layer * places
    if not step.sharded:
        return
    # The layer at work, and the next one on its way.
    yield "two layers, gathered", f"{size} × 2 × {shape.layer:,}", size * 2 * shape.layer
    trained = shape.layer if step.trained is None else step.trained // shape.layers
    # Those of the layer at work, and the last one's in float32, which are being reduced.
    whole = (size + FLOAT32) * trained
    yield "two layers' gradients, whole", f"({size} + 4) × {trained:,}", whole
