"""What the study chose for each of its segmentation networks, read from its notebooks section by section.

A recipe is (size, batch_size, fine_tune_epochs, keep), as in protocols.Options. The size is that of the assertions
before each training; the epochs are those that ran; the best epoch is kept where the section loads its checkpoint.
"""

from __future__ import annotations

from typing import NamedTuple


class Recipe(NamedTuple):
    """Training choices of one network: side in pixels, images per batch, epochs, and which epoch is scored."""

    size: int
    batch_size: int
    fine_tune_epochs: int
    keep: str = "last"


LESIONS: dict[str, Recipe] = {
    # Main_Unet_binary_segmentation.ipynb
    "unet_efficientnetb3": Recipe(320, 8, 20, "best"),
    "unet_mobilenetv2": Recipe(320, 8, 20),
    "unet_inceptionresnetv2": Recipe(320, 8, 20),
    "unet_densenet121": Recipe(320, 8, 20),
    "unet_seresnext101": Recipe(384, 8, 10, "best"),
    "unet_vgg19": Recipe(384, 8, 10, "best"),
    # Main_PSPNet_Binary_segmentation.ipynb
    "pspnet_efficientnetb3": Recipe(384, 8, 10),
    "pspnet_inceptionresnetv2": Recipe(384, 8, 10),
    "pspnet_mobilenetv2": Recipe(384, 8, 10),
    "pspnet_densenet121": Recipe(384, 8, 10),
    "pspnet_vgg19": Recipe(384, 8, 10),
    "pspnet_seresnext101": Recipe(384, 8, 10),
    # Main_LinkNet_binary_segmentation.ipynb
    "linknet_efficientnetb3": Recipe(320, 8, 20, "best"),
    "linknet_mobilenetv2": Recipe(384, 8, 10, "best"),
    "linknet_inceptionresnetv2": Recipe(384, 8, 10, "best"),
    "linknet_densenet121": Recipe(384, 8, 10),
    "linknet_seresnext101": Recipe(384, 8, 10, "best"),
    "linknet_vgg19": Recipe(384, 8, 10),
    # Main_FPN_Binary_Segmentation.ipynb
    "fpn_efficientnetb3": Recipe(256, 8, 10),
    "fpn_vgg19": Recipe(256, 8, 10),
    "fpn_inceptionresnetv2": Recipe(256, 8, 10),
    "fpn_mobilenetv2": Recipe(256, 8, 10),
    "fpn_densenet121": Recipe(256, 8, 10),
    "fpn_seresnet101": Recipe(256, 8, 10),
}
"""Binary Zenodo."""

FOUR_CLASSES: dict[str, Recipe] = {
    # Master_Z_Unet_Segmentation.ipynb
    "unet_efficientnetb3": Recipe(256, 16, 25, "best"),
    "unet_vgg19": Recipe(256, 34, 25, "best"),
    "unet_inceptionresnetv2": Recipe(256, 16, 25, "best"),
    "unet_densenet121": Recipe(256, 16, 25, "best"),
    "unet_mobilenetv2": Recipe(256, 34, 25, "best"),
    "unet_seresnet101": Recipe(256, 16, 25),  # it names MobileNetV2's checkpoint, which fits no other encoder
    # Master_Z_Linknet_Segmentation.ipynb
    "linknet_efficientnetb3": Recipe(256, 16, 25),
    "linknet_inceptionresnetv2": Recipe(256, 16, 25),
    "linknet_densenet121": Recipe(256, 16, 20),
    "linknet_vgg19": Recipe(256, 34, 22),  # of 25: its output ends in the 23rd
    "linknet_mobilenetv2": Recipe(256, 16, 20),
    "linknet_seresnet101": Recipe(256, 16, 20, "best"),
    # Master_Z_PSPNet_Segmentation.ipynb
    "pspnet_efficientnetb3": Recipe(384, 16, 25),
    "pspnet_vgg19": Recipe(384, 34, 25),
    "pspnet_inceptionresnetv2": Recipe(384, 16, 20),
    "pspnet_densenet121": Recipe(384, 16, 20),
    "pspnet_mobilenetv2": Recipe(384, 34, 20, "best"),
    "pspnet_seresnet101": Recipe(384, 16, 20),
    # Master_Z_FPN_Segmentation.ipynb
    "fpn_efficientnetb3": Recipe(256, 16, 25),
    "fpn_vgg19": Recipe(256, 16, 20),
    "fpn_inceptionresnetv2": Recipe(256, 16, 20),
    "fpn_mobilenetv2": Recipe(256, 16, 20),
    "fpn_densenet121": Recipe(256, 16, 15),
    "fpn_seresnet101": Recipe(256, 16, 15),
}
"""Zenodo with right lung, left lung, disease and background."""

# The thesis, section 5.3.3, for networks and tasks without a readable notebook.
OTHER_LESIONS = Recipe(320, 8, 20)
OTHER_FOUR_CLASSES = Recipe(256, 16, 25)
MEDSEG = Recipe(512, 16, 25)


def find_recipe(task: str, classes: int, architecture: str) -> Recipe:
    """Find the study's recipe of a segmentation network.

    Args:
        task: name of the task.
        classes: number of its classes, background included.
        architecture: name of the network; for one that the study did not train, the thesis decides.

    Returns:
        The recipe.
    """
    if task == "medseg_multiclass":
        return MEDSEG
    if classes == 2:
        return LESIONS.get(architecture, OTHER_LESIONS)
    return FOUR_CLASSES.get(architecture, OTHER_FOUR_CLASSES)
