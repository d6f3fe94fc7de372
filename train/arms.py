"""What makes an arm: the images its classifier sees and the fields of config.classifier it sets.

All else is the same in every arm. A new arm is an entry of `ARMS` and `eval.wording.SEES`; a new
control also one of `eval.results.CONTROLS`; docs/extend.md says what else may be due.
"""

import dataclasses
from collections.abc import Mapping

from train import fingerprints
from train.classifier import NETWORKS

JUDGE_SEED = 1_000_000  # above those of all classifiers


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to train the classifier.

    Attributes:
        real, synthetic: whether it sees the real training images, and the synthetic ones. With
            both, config.classifier.synthetic_share, _weight and _until mix them.
        repeated: whether its images are repeated to the count per class that config.synthesis.fill
            asks for, for as many steps as synthetic images are seen in other arms.
        fields: what it sets in config.classifier.
    """

    real: bool = True
    synthetic: bool = False
    repeated: bool = False
    fields: Mapping = dataclasses.field(default_factory=dict)

    @property
    def mixed(self):
        """Whether it sees images of both kinds."""
        return self.real and self.synthetic

    @property
    def changes(self):
        """Whether it sees other images after config.classifier.synthetic_until of the steps."""
        return self.mixed or self.repeated


ARMS = {
    'original': Arm(),
    'augmented': Arm(synthetic=True),
    'oversampled': Arm(repeated=True),
    'classical': Arm(fields={'augment': 'randaugment'}),
    'augmented_classical': Arm(synthetic=True, fields={'augment': 'randaugment'}),
    'logit_adjusted': Arm(fields={'logit_adjustment': 1.0}),
    'synthetic_only': Arm(real=False, synthetic=True),
}


def any_synthetic(names):
    """Whether one of the arms sees synthetic images, which then have to be drawn."""
    return any(ARMS[name].synthetic for name in names)


def settings(classifier, arm):
    """The frozen `config.classifier` with what the arm sets."""
    return type(classifier)(classifier.to_dict() | dict(ARMS[arm].fields))


def twin(classifier, arm):
    """The arm that `arm` would equal, as all arms have under `classifier` what it sets; or None."""
    plain = dataclasses.replace(ARMS[arm], fields={})
    equal = (name for name, other in ARMS.items() if other == plain and name != arm)
    same = all(classifier[name] == value for name, value in ARMS[arm].fields.items())
    return next(equal, None) if same else None


def seeds(classifier):
    """The seeds of an arm's classifiers, a range."""
    return range(classifier.seed, classifier.seed + classifier.seeds)


def stage(arm, seed):
    """The stage that trains and tests a classifier: its folder in the run's."""
    return f'classifiers/{arm}/seed_{seed}'


def reads(classifier, arm):
    """What one classifier of the arm depends on in `config.classifier`, and the arm itself.

    Not which seeds there are, nor the fields of a part that is off.
    """
    made_of, trained = ARMS[arm], settings(classifier, arm)
    fields = fingerprints.reads(trained, NETWORKS, trained.network)
    for name in ('seed', 'seeds'):
        fields.pop(name, None)
    if not made_of.mixed:
        del fields['synthetic_share'], fields['synthetic_weight']
    if not made_of.changes:
        del fields['synthetic_until']
    if fields['augment'] != 'randaugment':
        del fields['randaugment_ops'], fields['randaugment_magnitude'], fields['cutout']
    if fields['augment'] == 'none':
        del fields['augment_flip'], fields['augment_shift']
    return {'arm': dataclasses.asdict(made_of), **fields}
