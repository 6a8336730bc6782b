"""Pictures, volumes and masks as they are found in the wild."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from covbench.data.decoding import turn_upright
from covbench.data.images import perceptual_hash, read_image, resize_image
from covbench.data.masks import number_classes, read_mask
from covbench.data.volumes import count_frames, header_orientation, read_frames
from covbench.schema import CovbenchError

NAN = float("nan")
SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def read_grey(path: Path) -> np.ndarray:
    return read_image(path, -1, NAN, NAN)


def test_a_16_bit_picture_is_stretched_over_its_own_range_instead_of_saturating(tmp_path):
    Image.fromarray(np.array([[1000, 2000], [3000, 4000]], np.uint16)).save(tmp_path / "a.png")
    assert read_grey(tmp_path / "a.png").tolist() == [[0, 85], [170, 255]]


def test_a_constant_16_bit_picture_is_black(tmp_path):
    Image.fromarray(np.full((2, 2), 500, np.uint16)).save(tmp_path / "a.png")
    assert read_grey(tmp_path / "a.png").tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_does_not_show_in_the_grey_picture(tmp_path, mode):
    grey = np.array([[10, 200]], np.uint8)
    for name, alpha in (("clear.png", 0), ("opaque.png", 255)):
        bands = [grey] * (len(mode) - 1) + [np.full_like(grey, alpha)]
        Image.fromarray(np.stack(bands, axis=-1), mode).save(tmp_path / name)
        assert read_grey(tmp_path / name).tolist() == [[10, 200]]


def test_a_palette_picture_shows_its_colours_not_its_palette_positions(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([250, 250, 250, 20, 20, 20])
    image.save(tmp_path / "a.png", transparency=0)
    assert read_grey(tmp_path / "a.png").tolist() == [[250, 20]]


def test_exif_rotation_is_done(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # stored lying on its left: turn clockwise to look at it
    Image.fromarray(np.array([[0, 0, 255]], np.uint8)).save(tmp_path / "a.png", exif=exif)
    assert read_grey(tmp_path / "a.png").tolist() == [[0], [0], [255]]


def test_jpeg_bytes_under_a_png_name_in_upper_case_are_read(tmp_path):
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(tmp_path / "a%1.PNG", format="JPEG")
    assert read_grey(tmp_path / "a%1.PNG").mean() == 77


def test_a_truncated_jpeg_is_an_error_with_its_name(tmp_path):
    path = tmp_path / "cut.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-900])
    Image.open(path).verify()  # which is why verify() is not enough
    with pytest.raises(CovbenchError, match=r"cut\.jpg: cannot be read"):
        read_grey(path)


@pytest.mark.parametrize("axes", ["LPS", "RAS", "LAS", "PLS", "RPI"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_stands_upright_however_it_is_stored(tmp_path, axes, suffix):
    ras = np.zeros((3, 4, 2), np.int16)  # right-anterior-superior: index grows to the right, the front, the head
    ras[2, 3, 0] = 1  # right front
    ras[0, 0, 0] = 2  # left back
    stored = nib.Nifti1Image(ras, np.eye(4)).as_reoriented(nib.orientations.axcodes2ornt(tuple(axes)))
    lowest = 1 if axes.endswith("I") else 0  # frames keep the stored order
    stored.affine[:3, 3] += 5
    path = tmp_path / f"a{suffix}"
    nib.save(nib.Nifti1Image(np.asarray(stored.dataobj), stored.affine), path)
    for frames in ([lowest], [0, 1]):  # a slice alone, and all in one pass
        (upright,) = [v for f, v in zip(frames, read_frames(path, frames), strict=True) if f == lowest]
        assert upright.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 2]]
    assert count_frames(path) == 2
    assert header_orientation(path) == axes


def test_an_identity_header_names_no_orientation_and_the_index_decides(tmp_path):
    values = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    assert header_orientation(tmp_path / "a.nii.gz") == ""
    assert next(read_frames(tmp_path / "a.nii.gz", [0], "LPS")).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_pictures_that_lie_on_a_side_are_turned():
    lying = np.array([[1, 2], [3, 4], [5, 6]])
    assert turn_upright(lying, "LP").tolist() == [[1, 3, 5], [2, 4, 6]]
    assert turn_upright(lying, "LA").tolist() == [[2, 4, 6], [1, 3, 5]]
    assert turn_upright(lying, "AR").tolist() == [[6, 5], [4, 3], [2, 1]]
    assert turn_upright(lying, "") is lying


def test_hounsfield_units_are_shown_in_the_window(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[[-2000, -1250, -500, 250, 900]]], np.float32)[..., None])
    assert read_image(tmp_path / "a.npy", 0, -1250, 250).tolist() == [[0, 0, 128, 255, 255]]


def test_scaling_in_the_nifti_header_is_applied_alike_to_one_slice_and_to_all(tmp_path):
    image = nib.Nifti1Image(np.array([[[0, 1]]], np.int16), np.diag([-1, -1, 3, 1]))
    image.header.set_slope_inter(2, -1000)
    nib.save(image, tmp_path / "a.nii.gz")
    alone = [float(next(read_frames(tmp_path / "a.nii.gz", [frame])).item()) for frame in (0, 1)]
    assert alone == [float(v.item()) for v in read_frames(tmp_path / "a.nii.gz", [0, 1])] == [-1000, -998]


def test_display_values_in_a_float_stack_are_kept(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[[0.0, 127.6, 255.0]]]))
    assert read_image(tmp_path / "a.npy", 0, NAN, NAN).tolist() == [[0, 128, 255]]


def test_nan_in_a_volume_names_file_and_frame(tmp_path):
    values = np.zeros((2, 3, 3), np.float32)
    values[1, 0, 0] = np.nan
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(CovbenchError, match=r"a\.npy: frame 1 holds NaN"):
        read_image(tmp_path / "a.npy", 1, -1000, 0)


def save_dicom(path: Path, pixels: np.ndarray, **fields: object) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelData = pixels.astype("<u2").tobytes()
    for name, value in fields.items():
        setattr(data, name, value)
    pydicom.dcmwrite(path, data, enforce_file_format=True)


def test_dicom_is_rescaled_and_shown_in_its_own_window(tmp_path):
    fields = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": -500, "WindowWidth": 1000}
    save_dicom(tmp_path / "a.dcm", np.array([[0, 24, 524, 1024, 2000]]), **fields)
    assert read_grey(tmp_path / "a.dcm").tolist() == [[0, 0, 128, 255, 255]]


def test_dicom_monochrome1_is_inverted(tmp_path):
    save_dicom(tmp_path / "a.dcm", np.array([[0, 1000]]), PhotometricInterpretation="MONOCHROME1")
    assert read_grey(tmp_path / "a.dcm").tolist() == [[255, 0]]


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/data is not here")
def test_a_real_jpeg_compressed_dicom_x_ray_is_read():
    (path,) = (SAMPLES / "extra-dicom-nifti-samples").rglob("*.dcm")
    image = read_grey(path)
    assert image.shape == (1024, 1024)
    assert (image.min(), image.max()) == (0, 255)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/data is not here")
def test_real_volumes_stored_ras_and_lps_both_have_bone_at_the_back():
    for name in ("example_ct_sm.nii.gz", "pulmonary_report__models__ct_cropped.nii.gz"):
        (path,) = (SAMPLES / "extra-dicom-nifti-samples").rglob(name)
        lowest = next(read_frames(path, [0])) > 200  # below the heart, whose contrast is as bright as bone
        upper, lower = np.array_split(lowest, 2)
        assert lower.sum() > 3 * upper.sum() > 0 or upper.sum() == 0 < lower.sum()


def test_palette_positions_of_a_mask_are_its_numbers(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "m.png")
    classes = ("background", "consolidation", "ground_glass")
    mask = read_mask(tmp_path / "m.png", -1, "1:ground_glass 2:consolidation", classes)
    assert mask.tolist() == [[0, 2, 1]]
    assert mask.dtype == np.uint8


def test_a_grey_mask_is_cut_at_its_threshold(tmp_path):
    Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", -1, "128-255:infection", ("background", "infection")).tolist() == [
        [0, 0, 1, 1]
    ]


def test_a_class_that_the_task_does_not_know_is_background():
    values = np.array([[0, 1, 2, 3]])
    numbers = number_classes(values, "1:left_lung 2:right_lung 3:infection", ("background", "infection"))
    assert numbers.tolist() == [[0, 0, 0, 1]]


def test_one_hot_masks_are_numbered_by_channel_and_empty_pixels_are_background(tmp_path):
    one_hot = np.zeros((1, 1, 5, 4), np.int8)
    for pixel, channel in enumerate((0, 1, 2, 3)):
        one_hot[0, 0, pixel, channel] = 1
    np.save(tmp_path / "m.npy", one_hot)
    meaning = "0:ground_glass 1:consolidation 2:lungs_other 3:background"
    classes = ("background", "ground_glass", "consolidation", "lungs_other")
    assert read_mask(tmp_path / "m.npy", 0, meaning, classes).tolist() == [[1, 2, 3, 0, 0]]


def test_a_mask_value_that_nobody_declared_is_an_error_with_file_and_value(tmp_path):
    Image.fromarray(np.array([[0, 1, 9]], np.uint8)).save(tmp_path / "odd.png")
    with pytest.raises(CovbenchError, match=r"odd\.png: mask values 9 are not declared"):
        read_mask(tmp_path / "odd.png", -1, "1:infection", ("background", "infection"))


def test_a_mask_in_colours_is_an_error(tmp_path):
    Image.new("RGB", (2, 2), (255, 0, 0)).save(tmp_path / "m.png")
    with pytest.raises(CovbenchError, match="the mask is in colours"):
        read_mask(tmp_path / "m.png", -1, "1:infection", ("background", "infection"))


def test_a_half_black_half_white_pattern_becomes_grey_when_made_smaller():
    stripes = np.tile(np.array([[0, 255]], np.uint8), (64, 32))
    small = resize_image(stripes, 8)
    assert small.shape == (8, 8)
    assert abs(small[2:-2, 2:-2].astype(int) - 128).max() <= 3


def test_the_perceptual_hash_survives_half_size():
    rng = np.random.default_rng(0)
    image = resize_image(rng.integers(0, 255, (6, 6), np.uint8), 96)
    near, far = perceptual_hash(resize_image(image, 48)), perceptual_hash(np.rot90(image).copy())
    here = int(perceptual_hash(image), 16)
    assert len(near) == 16
    assert (here ^ int(near, 16)).bit_count() <= 2
    assert (here ^ int(far, 16)).bit_count() > 10
