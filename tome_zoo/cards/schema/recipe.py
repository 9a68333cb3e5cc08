"""What a training recipe card may say."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, model_validator

from tome_zoo.cards.schema.fields import Card, Name, R
from tome_zoo.modalities.inputs import Modality

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0, strict=True)]
TensorAugmentation = Literal["flip", "turn", "shift", "delay", "channels", "negate", "noise"]

NOT_HYPER_PARAMETERS = {"name", "version", "modality", "summary", "models", "sources"}


class RecipeCard(Card):
    """How a model is trained; results of different versions are not comparable.

    Attributes:
        models: Patterns (fnmatch) of the models that are trained so unless another recipe is named.
        sources: Where each hyper-parameter comes from: fields, separated by spaces -> a source. On a card every one
            that is given has to have one.
        start: "pretrained": from the model's weights, with a fresh head where the classes are others; "scratch".
        epochs: Passes over the data, or over `samples_per_epoch`; may be a fraction.
        samples_per_epoch: Draws an epoch; None takes as many as there are samples.
        warmup_epochs: Linear warm-up, a part of `epochs`; half a cosine follows.
        batch_size: Samples an optimiser step, over all ranks, accumulated ones and repeats counted.
        lr: Peak learning rate at that batch size. Either this or `base_lr`.
        base_lr: Peak learning rate for `lr_batch` samples a step; the real one is proportional to the batch.
        min_lr: Where the cosine ends.
        optimizer: Name for timm's `create_optimizer_v2`.
        fallback: For "muon" and "nmuon": patterns of the parameters that AdamW takes.
        weight_decay: Not of vectors, positions and tokens.
        layer_decay: Factor of the learning rate from a block to the one below; None has one rate for all.
        clip_grad: Largest norm of the gradient; None does not clip.
        drop_path: Stochastic depth of the last block; linear from 0 in the first.
        dropout: Before the classifier.
        loss: "cross_entropy" (softmax) or "binary_cross_entropy" (a sigmoid for each class).
        head_init_std: Standard deviation of a fresh head's weights.
        ema_decay: Of the running average of the weights, with timm's warm-up; 0 keeps none.
        mixup: Alpha of mixup of inputs; 0 is none. Likewise `cutmix`.
        mixup_prob: How often a batch is mixed at all; `mixup_switch_prob`: how often by cutmix, if there is both.
        mixup_mode: Whether one ratio serves a "batch", or each "elem"ent has its own.
        crop_scale: Part of the area that a random resized crop has; None takes the evaluation's view.
        crop_ratio: Aspect ratios of these crops.
        hflip: Probability of mirroring.
        color_jitter: Strength, where there is no RandAugment.
        rand_augment: timm's text for RandAugment; of a clip all frames alike.
        random_erasing: Probability of erasing a box (of a clip the same in all frames) with noise.
        repeats_per_decode: Augmented samples made of each decoded file; all of them in the same batch.
        repeated_augmentation: Times that a file is drawn again in an epoch, which then has that many fewer files.
        tensor_augment: Cheap changes of whole batches, by name.
        waveform_mixup: Probability of adding another sound to a waveform; labels are mixed likewise.
        waveform_mixup_alpha: The weight is drawn from Beta(alpha, alpha).
        waveform_roll: Shift waveforms around their end, by any amount.
        waveform_gain: Amplify waveforms by 0.5 + Beta(alpha, alpha) with this alpha; None leaves them.
        time_bar: Widest bar of frames that is blanked in a spectrogram; 0 is none. Likewise `frequency_bar`.
        time_patch_drop: Part of the columns of patches that are dropped behind the position embedding; likewise
            `frequency_patch_drop`, of rows.
        sampling: "shuffle", or "class_balanced": drawn without replacement by the rarity of their classes.
        r: What merges in training, one or several schedules, after `r_mode`.
        r_mode: "constant": the first; "scheduled": each for an equal part of the epochs, in order; "random": one is
            drawn for every step.
        prop_attn: Whether attention weighs tokens by size; None takes the model card's.
        reducer: How tokens are reduced, by name.
        distill_weight: Share of the teacher in the loss, if there is one; `distill_temperature` softens both.
        dtype: Of the forward (autocast); weights stay float32.
        checkpointing: Compute activations again instead of keeping them.
        evaluations: How many times a run is evaluated, the last time at its end.
    """

    name: Name
    version: Count
    modality: Modality
    summary: str = ""
    models: tuple[str, ...] = ()
    sources: dict[str, str] = Field(default_factory=dict)
    start: Literal["pretrained", "scratch"] = "pretrained"
    epochs: Positive
    samples_per_epoch: Count | None = None
    warmup_epochs: NonNegative = 0.0
    batch_size: Count
    lr: Positive | None = None
    base_lr: Positive | None = None
    lr_batch: Count = 256
    min_lr: NonNegative = 1e-6
    optimizer: str = "adamw"
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    fallback: tuple[str, ...] = ()
    weight_decay: NonNegative = 0.05
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    clip_grad: Positive | None = None
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    head_init_std: Positive = 2e-5
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: NonNegative = 0.0
    cutmix: NonNegative = 0.0
    mixup_prob: Probability = 1.0
    mixup_switch_prob: Probability = 0.5
    mixup_mode: Literal["batch", "elem"] = "batch"
    crop_scale: tuple[Positive, Positive] | None = None
    crop_ratio: tuple[Positive, Positive] = (0.75, 1.3333)
    hflip: Probability = 0.0
    color_jitter: NonNegative = 0.0
    rand_augment: str | None = None
    random_erasing: Probability = 0.0
    repeats_per_decode: Count = 1
    repeated_augmentation: Count = 1
    tensor_augment: tuple[TensorAugmentation, ...] = ()
    waveform_mixup: Probability = 0.0
    waveform_mixup_alpha: Positive = 10.0
    waveform_roll: bool = False
    waveform_gain: Positive | None = None
    time_bar: Annotated[int, Field(ge=0)] = 0
    frequency_bar: Annotated[int, Field(ge=0)] = 0
    time_patch_drop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    frequency_patch_drop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    sampling: Literal["shuffle", "class_balanced"] = "shuffle"
    r: tuple[R, ...] = (0,)
    r_mode: Literal["constant", "scheduled", "random"] = "constant"
    prop_attn: bool | None = None
    reducer: str = "bipartite"
    distill_weight: Probability = 0.5
    distill_temperature: Positive = 1.0
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    checkpointing: bool = False
    evaluations: Count = 4

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> "RecipeCard":
        if (self.lr is None) == (self.base_lr is None):
            raise ValueError("give either lr (at this batch size) or base_lr (for lr_batch samples a step)")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs:g} leaves nothing of {self.epochs:g} epochs")
        if not self.r:
            raise ValueError("expected at least one r: 0 trains without merging")
        if info.context is not None:  # a card, not a recipe with a user's own settings
            self._check_sources()
        return self

    def _check_sources(self) -> None:
        sourced = {field for fields in self.sources for field in fields.split()}
        given = self.model_fields_set - NOT_HYPER_PARAMETERS
        if lacking := sorted(given - sourced):
            raise ValueError(f"sources: say where {', '.join(lacking)} come from")
        if unknown := sorted(sourced - given):
            raise ValueError(f"sources: {', '.join(unknown)} are not given on this card")

    @property
    def id(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"
