"""Attack 1: a thumbnail from a raw PDQ hash.

A PDQ bit says whether a low-frequency DCT coefficient of the 64 x 64 grey picture lies above their median. So, with
no training at all, the inverse DCT of the signs, weighted by the 1/f amplitude of natural pictures, is a thumbnail
(`signs`). A small model, one amplitude a coefficient fitted on crops of all other photos, draws a little more
(`fitted`). Neural networks do far better: Hawkes, Weinert, Almeida and Mehrnezhad, "Perceptual Hash Inversion Attacks
on Image-Based Sexual Abuse Removal Tools", 2024. The defence is that nobody holds the hash: the same attack then
works on bytes that do not depend on it.

SSIM is taken on standardised 32 x 32 grey thumbnails: 16 frequencies a side is all that the hash holds. "picked" is
how often, among all photos, the drawn thumbnail is most like the photo that it came from.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn, idctn
from skimage.metrics import structural_similarity

from experiments import plots
from experiments.attacks.common import Config, runnable, verdict
from experiments.fingerprints import open_photo
from experiments.lab import Lab
from experiments.results import Findings, Result, Row
from hashing.image import hash_image
from protocols import create

SIDE = 32
Picture = NDArray[Any]  # float64


def run(config: Config, lab: Lab) -> Findings:
    """Invert every photo's hash, as each protocol shows it to the exchange."""
    tasks = [(path, config.crops, config.seed) for path in lab.photos.originals.values()]
    studied = lab.map(_study, tasks, "inversion: hashing crops")
    pictures = np.array([picture for picture, _, _ in studied])
    bits = np.array([hash_bits[0] for _, hash_bits, _ in studied])
    packed = np.packbits(bits, axis=1)
    models = _leave_one_out([hash_bits for _, hash_bits, _ in studied], [crops for _, _, crops in studied])
    findings = Findings(tables={"inversion": [], "pictures": [], "verdicts": []})
    for name in runnable():
        seen = _seen_by_the_exchange(name, packed)
        signs = np.array([from_signs(row) for row in seen])
        fitted = np.array([from_signs(row, model) for row, model in zip(seen, models, strict=True)])
        for method, guesses in (("signs", signs), ("fitted", fitted)):
            scores = np.array([ssim(guess, picture) for guess, picture in zip(guesses, pictures, strict=True)])
            chance = np.mean([ssim(guesses[i - 1], pictures[i]) for i in range(len(pictures))])
            near = (guesses.reshape(len(guesses), -1) @ pictures.reshape(len(pictures), -1).T).argmax(axis=1)
            picked = float(np.mean(near == np.arange(len(pictures))))
            row: Row = {"protocol": name, "method": method, "photos": len(pictures), "ssim_mean": scores.mean()}
            row |= {"ssim_of_another_photo": chance, "picked": picked, "picked_by_chance": 1 / len(pictures)}
            findings.tables["inversion"].append(row)
        defence = "none: the raw hash is sent" if np.array_equal(seen, bits) else "the hash never leaves the client"
        findings.tables["verdicts"].append(
            verdict("1 inversion", name, defence, "thumbnail picks its photo", picked, picked > 0.5, 1 / len(pictures))
        )
        if name == "plaintext":  # all photos count in the numbers; the figure shows those that come out best
            best = np.argsort([-ssim(guess, picture) for guess, picture in zip(signs, pictures, strict=True)])
        if lab.photos.may_show:
            for index in best[: config.shown].tolist():
                for what, shown in (("original", pictures), ("signs", signs), ("fitted", fitted)):
                    score = ssim(shown[index], pictures[index])
                    cell: Row = {"protocol": name, "photo": list(lab.photos.originals)[index], "what": what}
                    findings.tables["pictures"].append(cell | {"ssim": score, "grey_32x32": _text(shown[index])})
    first = findings.tables["inversion"][1]
    findings.headline = {"inversion_picked": first["picked"], "inversion_ssim": first["ssim_mean"]}
    return findings


def from_signs(bits: NDArray[np.uint8], amplitude: Picture | None = None) -> Picture:
    """The thumbnail that 256 PDQ bits give, (32, 32), mean 0, standard deviation 1.

    amplitude: (16, 16), what to take for each coefficient's size; by default 1/f, which needs no training.
    """
    if amplitude is None:
        amplitude = 1 / np.hypot(*np.meshgrid(np.arange(1, 17), np.arange(1, 17)))
    coefficients = np.zeros((SIDE, SIDE))
    coefficients[1:17, 1:17] = _signed(bits) * amplitude
    return _standard(idctn(coefficients, norm="ortho"))


def ssim(guess: Picture, picture: Picture) -> float:
    """Structural similarity of two standardised pictures; 1 is identical."""
    return float(structural_similarity(guess, picture, data_range=4.0))


def _study(task: tuple[Path, int, int]) -> tuple[Picture, NDArray[np.uint8], Picture]:
    """A photo's picture (32, 32), the bits of it and of random crops (1 + crops, 256), and all their pictures."""
    path, crops, seed = task
    image = open_photo(path)
    rng = np.random.default_rng([seed, *path.stem.encode()])
    images = [image]
    for _ in range(crops):
        w, h = (round(size * rng.uniform(0.5, 0.95)) for size in image.size)
        x, y = int(rng.integers(image.width - w + 1)), int(rng.integers(image.height - h + 1))
        crop = image.crop((x, y, x + w, y + h))
        images.append(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop)
    bits = np.array([hash_image(each, "pdq").bits for each in images])
    return _picture(image), bits, np.array([_picture(each) for each in images])


def _picture(image: Image.Image) -> Picture:
    return _standard(np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64))


def _standard(pixels: Picture) -> Picture:
    return (pixels - pixels.mean()) / max(float(pixels.std()), 1e-9)


def _signed(bits: NDArray[np.uint8]) -> Picture:
    """Bits (..., 256), first of them coefficient (15, 15), as +1 and -1 in the order of coefficients (..., 16, 16)."""
    return (2.0 * bits[..., ::-1] - 1.0).reshape(*bits.shape[:-1], 16, 16)


def _leave_one_out(bits: list[NDArray[np.uint8]], pictures: list[Picture]) -> list[Picture]:
    """For each photo the amplitudes (16, 16) that fit all other photos' pictures best, given the signs."""
    fits = []
    for hashes, drawn in zip(bits, pictures, strict=True):
        fits.append((_signed(hashes) * dctn(drawn, axes=(1, 2), norm="ortho")[:, 1:17, 1:17]).mean(axis=0))
    return [np.mean(fits[:index] + fits[index + 1 :], axis=0) for index in range(len(fits))]


def _seen_by_the_exchange(name: str, hashes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 256) bits: each entry's hash where the exchange received it, else as many bits of what it did receive."""
    protocol = create(name, record=True)
    protocol.enroll([f"case-{number}" for number in range(len(hashes))], hashes)
    received = b"".join(m.payload for m in protocol.ledger.received_by("exchange") if m.payload)
    rows = []
    for number, row in enumerate(hashes):
        start = received.find(row.tobytes())
        if start < 0:
            start = len(received) * (2 * number + 1) // (2 * len(hashes)) - 32
        rows.append(np.frombuffer(received[start : start + 32], dtype=np.uint8))
    return np.unpackbits(np.array(rows), axis=1)


def _text(picture: Picture) -> str:
    grey = np.clip(picture * 52 + 128, 0, 255).astype(np.uint8)
    return base64.b64encode(grey.tobytes()).decode()


def figure(result: Result) -> Figure:
    """The photos that come out best, what is drawn from their raw hash and from what other protocols show, and SSIM."""
    pictures = result.rows("pictures")
    if not pictures:
        return _bars(result)
    photos = result.values("pictures", "photo")
    sealed = [name for name in result.values("pictures", "protocol") if name != "plaintext"]
    columns = [("plaintext", "original", "photo"), ("plaintext", "signs", "raw hash,\nno training")]
    columns += [("plaintext", "fitted", "raw hash,\nsmall model")]
    columns += [(name, "fitted", f"what {name}\nshows") for name in sealed]
    figure, axes = plots.new(len(photos), len(columns), (1.35 * len(columns), 1.5 * len(photos) + 0.4), squeeze=False)
    for y, photo in enumerate(photos):
        for x, (protocol, what, title) in enumerate(columns):
            (row,) = result.rows("pictures", protocol=protocol, photo=photo, what=what)
            pixels = np.frombuffer(base64.b64decode(row["grey_32x32"]), dtype=np.uint8).reshape(SIDE, SIDE)
            axes[y, x].imshow(pixels, cmap="gray", vmin=0, vmax=255)
            axes[y, x].set(xticks=[], yticks=[])
            axes[y, x].grid(visible=False)
            if what != "original":
                axes[y, x].set_xlabel(f"SSIM {row['ssim']:.2f}", fontsize=9)
            if y == 0:
                axes[y, x].set_title(title, fontsize=10, loc="center", fontweight="normal")
    return figure


def _bars(result: Result) -> Figure:
    figure, axes = plots.new()
    rows = result.rows("inversion", method="fitted")
    axes.barh([row["protocol"] for row in rows], [row["picked"] for row in rows], color=plots.BLUE)
    axes.axvline(rows[0]["picked_by_chance"], color=plots.BLACK, linestyle="--")
    axes.set(xlabel="thumbnails that are nearest to their own photo (dashed: chance)", xlim=(0, 1))
    return figure
