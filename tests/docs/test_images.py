"""Tests that the images of the documentation exist and can be read without seeing them."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.docs.blocks import ROOT

LINK = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
SVG = "{http://www.w3.org/2000/svg}"
LINKS = [
    (page, alternative, (page.parent / target).resolve())
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for alternative, target in LINK.findall(page.read_text("utf-8"))
]
IMAGES = sorted((ROOT / "docs/images").iterdir())


def _read(image: Path) -> ElementTree.Element:
    return ElementTree.fromstring(image.read_text("utf-8"))


def test_each_linked_image_exists_and_has_an_alternative_text() -> None:
    assert len(LINKS) >= len(IMAGES)
    for page, alternative, image in LINKS:
        assert image.is_file(), f"{page}: {image}"
        assert len(alternative.split()) > 5, f"{page}: {image}"


def test_each_image_is_linked() -> None:
    assert set(IMAGES) == {image for _, _, image in LINKS}


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: str(image.name))
def test_image_has_a_title_a_description_and_a_ground_of_its_own(image: Path) -> None:
    root = _read(image)
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")

    assert title is not None
    assert description is not None
    assert title.text
    assert description.text
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    _, _, width, height = map(float, str(root.get("viewBox")).split())
    ground = root.find(f"{SVG}rect")
    assert ground is not None
    assert float(ground.get("width", 0)) >= width - 2
    assert float(ground.get("height", 0)) >= height - 2


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: str(image.name))
def test_each_text_and_box_of_an_image_is_inside_its_ground(image: Path) -> None:
    root = _read(image)
    _, _, width, height = map(float, str(root.get("viewBox")).split())

    for each in root.iter():
        if each.tag not in (f"{SVG}text", f"{SVG}rect"):
            continue
        right = float(each.get("x", 0)) + float(each.get("width", 0))
        bottom = float(each.get("y", 0)) + float(each.get("height", 0))
        assert 0 < right < width, each.attrib
        assert 0 < bottom < height, each.attrib
