"""Two networks as a contributor writes them: files for src/covbench/models/networks."""

CLASSIFIER = '''"""One convolution."""

from covbench.models.architecture import NetworkCard
from covbench.schema import CLASSIFICATION

CARD = NetworkCard(kind=CLASSIFICATION, family="CNN", title="One convolution", citation="a test", year=2026)


def build(side):
    import keras

    images = keras.Input((side, side, 3))
    return keras.Model(images, keras.layers.Conv2D(4, 3, name="the_only_one")(images), name="network")
'''
SEGMENTER = '''"""A convolution that keeps the grid."""

from covbench.models.architecture import NetworkCard
from covbench.schema import SEGMENTATION

CARD = NetworkCard(kind=SEGMENTATION, family="FCN", title="A flat network", citation="a test", year=2026, smallest=8)


def build(side, classes):
    import keras

    images = keras.Input((side, side, 3))
    logits = keras.layers.Conv2D(classes, 3, padding="same", name="the_flat_one")(images)
    return keras.Model(images, logits, name="network")
'''
