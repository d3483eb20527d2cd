"""The artwork of the signs: which they are, and their pictures."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from PIL import Image
from torch import Tensor

__all__ = ["COLUMNS", "SHEET", "SIGNS", "TILE", "Sign", "load_art"]


@dataclass(frozen=True)
class Sign:
    """One class of the case.

    Args:
        name: What the sign says.
        source: Its drawing, below ``openclipart/svg``, without ``.svg``.
    """

    name: str
    source: str


def _safety(name: str, drawing: str) -> Sign:
    return Sign(name, f"signs_and_symbols/{drawing}")


def _road(name: str, drawing: str) -> Sign:
    return Sign(name, f"transportation/roadsigns/{drawing}")


SIGNS = (
    _safety("biohazard", "RisqueBiologique"),
    _safety("corrosive", "MatieresCorrosives"),
    _safety("drop", "ChuteDenivellation"),
    _safety("electricity", "DangerElectrique"),
    _safety("explosive", "MatieresExplosives"),
    _safety("flammable", "MatieresInflammables"),
    _safety("forklift trucks", "VehiculesManutention"),
    _safety("general danger", "DangerGeneral"),
    _safety("hot surface", "hot_surface_danger_luca_r"),
    _safety("laser", "RayonnementLaser"),
    _safety("magnetic field", "ChampMagnetiqueImportant"),
    _safety("radioactive", "RadiationsIonisantes"),
    _safety("suspended load", "ChargesSuspendues"),
    _safety("toxic", "MatieresToxiques"),
    _safety("do not touch", "ne_pas_toucher_yves_guil_01"),
    _safety("no drinking water", "eau_non_potable_yves_gui_01"),
    _safety("no forklift trucks", "interdiction_vehicules__01"),
    _safety("no open flame", "flamme_nue_interdite_yve_01"),
    _safety("no pedestrians", "interdiction_pietons_yve_01"),
    _safety("no smoking", "defense_de_fumer_yves_gu_01"),
    _safety("use a harness", "protection_obligatoire__01"),
    _safety("wear boots", "protection_obligatoire__06"),
    _safety("wear a helmet", "protection_obligatoire__08"),
    _safety("wear a respirator", "protection_obligatoire__09"),
    _safety("wear ear protection", "protection_obligatoire__05"),
    _safety("wear eye protection", "protection_obligatoire__10"),
    _safety("wear gloves", "protection_obligatoire__04"),
    _safety("emergency telephone", "telephone_sauvetage_yves_01"),
    _safety("eyewash", "rincage_yeux_yves_guillo_01"),
    _safety("safety shower", "douche_securite__yves_gu_01"),
    _safety("stretcher", "civiere_yves_guillou_01"),
    _safety("fire extinguisher", "extincteur_yves_guillou_01"),
    _safety("fire hose", "lance_a_incendie_yves_gu_01"),
    _safety("fire telephone", "telephone_lutte_incendi_01"),
    _safety("ahead only", "ahead_only"),
    _road("give way", "Give_Way"),
    _road("no entry", "no_entry"),
    _road("road works", "man_w_umbrella"),
    _road("roundabout", "roundabout"),
    _road("slippery road", "slippery"),
    _road("stop", "stop_sign_right_font_mig_"),
    _road("turn left", "turn_left"),
    _road("two-way traffic", "two_way_ahead"),
    _road("wild animals", "bambi"),
)

SHEET = Path(__file__).with_name("art.png")
"""All pictures side by side in the order of ``SIGNS``, row by row."""

TILE = 128
"""Width and height of one picture on the sheet, in pixels."""

COLUMNS = 11
"""Pictures in a row of the sheet."""


@cache
def load_art() -> Float64[Tensor, "sign rgba tile tile"]:
    """Read the pictures, each as red, green, blue and opacity in 0..1.

    The colours are multiplied by the opacity, so that interpolating at the rim of a
    sign does not pick up the colour of the transparent pixels outside it.
    """
    with Image.open(SHEET) as sheet:
        pixels = torch.from_numpy(np.array(sheet.convert("RGBA")))
    grid = pixels.unflatten(1, (COLUMNS, TILE)).unflatten(0, (-1, TILE))
    tiles = grid.permute(0, 2, 4, 1, 3).flatten(0, 1).double() / 255
    return torch.cat([tiles[:, :3] * tiles[:, 3:], tiles[:, 3:]], dim=1)
