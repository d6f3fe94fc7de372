import ml_collections
import pytest

from configs import default
from data import image_sets
from train import arms, classifying, fingerprints, generating, parallel


def reads(arm, **fields):
    config = default.get_config()
    config.update_from_flattened_dict({f'classifier.{name}': v for name, v in fields.items()})
    return arms.reads(ml_collections.FrozenConfigDict(config).classifier, arm)


@pytest.mark.parametrize(
    'field, value, retrained',
    [
        ('seed', 9, set()),
        ('seeds', 9, set()),
        ('steps', 9, set(arms.ARMS)),
        ('synthetic_share', 0.3, {'augmented', 'augmented_classical'}),
        ('synthetic_weight', 0.3, {'augmented', 'augmented_classical'}),
        ('synthetic_until', 0.5, {'augmented', 'augmented_classical', 'oversampled'}),
        ('augment_shift', 0.2, {'classical', 'augmented_classical'}),
        ('randaugment_magnitude', 5.0, {'classical', 'augmented_classical'}),
        ('augment', 'flip_shift', set(arms.ARMS) - {'classical', 'augmented_classical'}),
        ('logit_adjustment', 0.5, set(arms.ARMS) - {'logit_adjusted'}),
    ],
)
def test_a_changed_field_retrains_the_arms_that_read_it(field, value, retrained):
    assert {arm for arm in arms.ARMS if reads(arm) != reads(arm, **{field: value})} == retrained


def test_an_arm_sets_no_more_than_its_name_says():
    assert {name: dict(arm.fields) for name, arm in arms.ARMS.items() if arm.fields} == {
        'classical': {'augment': 'randaugment'}, 'augmented_classical': {'augment': 'randaugment'},
        'logit_adjusted': {'logit_adjustment': 1.0},
    }


def test_a_network_that_has_no_such_part_does_not_read_its_fields():
    assert reads('original', hidden=9) != reads('original')
    resnet = reads('original', network='resnet32')
    others = {'hidden': 9, 'dropout': 0.1, 'widths': (4,), 'first_kernel': 5}
    assert reads('original', network='resnet32', **others) == resnet


def test_networks_may_share_a_field(tiny_config):
    settings = tiny_config().classifier
    networks = {'a': (None, ('hidden', 'widths')), 'b': (None, ('hidden',)), 'c': (None, ())}
    own = {name: fingerprints.reads(settings, networks, name).keys() & {'hidden', 'widths'}
           for name in networks}
    assert own == {'a': {'hidden', 'widths'}, 'b': {'hidden'}, 'c': set()}


def test_a_backbone_does_not_read_the_fields_of_another(tiny_config):
    def read(backbone, **changes):
        fields = {'generator.backbone': backbone, **changes}
        return generating.depends(tiny_config(**fields))['reads']['generator']

    unet, dit = {'generator.blocks': 9, 'generator.class_map': True}, {'generator.depth': 9}
    assert read('unet', **dit) == read('unet') != read('unet', **unet)
    assert read('dit', **unet) == read('dit') != read('dit', **dit)


@pytest.mark.parametrize('field', fingerprints.WATCH)
def test_what_is_seen_of_a_generator_changes_one_that_is_chosen_by_it(tiny_config, field):
    def read(select, **changes):
        fields = {'generator.select': select, **changes}
        return generating.depends(tiny_config(**fields))['reads']['generator']

    other = {f'generator.{field}': 0.3 if field == 'max_copy_rate' else 7}
    assert read('last', **other) == read('last')
    assert read('best_validation', **other) != read('best_validation')


def test_the_precision_that_auto_means_here_is_what_was_read(tiny_config, monkeypatch):
    """A run that was begun on a CPU would else be finished on a GPU in another one."""
    config = tiny_config(**{'generator.dtype': 'auto'})
    here = reads('original'), generating.depends(config)['reads']['generator']
    assert [read['dtype'] for read in here] == ['float32'] * 2
    assert reads('original', dtype='float32') == here[0]
    monkeypatch.setattr(parallel.jax, 'default_backend', lambda: 'gpu')
    there = reads('original'), generating.depends(config)['reads']['generator']
    assert [read['dtype'] for read in there] == ['bfloat16'] * 2


def test_no_two_arms_are_the_same_stage():
    found = [reads(arm) for arm in arms.ARMS]
    assert all(one != other for i, one in enumerate(found) for other in found[:i])


def test_only_the_oversampled_arm_reads_how_classes_are_filled(tiny_config, fake_images):
    parts = image_sets.Splits(fake_images(12), None, None, ('a', 'b'))
    ten, twelve = (tiny_config(**{'synthesis.fill': fill}) for fill in ('10', '12'))

    def reads(config, arm):
        return classifying.depends(config, parts, arm, 0)['reads']['classifier']

    for arm in arms.ARMS:
        assert (reads(ten, arm) == reads(twelve, arm)) == (arm != 'oversampled')
    assert reads(ten, 'oversampled')['class_counts'] == [10, 10]
    same = reads(tiny_config(**{'synthesis.fill': '2x'}), 'oversampled')
    assert same == reads(twelve, 'oversampled')
