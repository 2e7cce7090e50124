"""The ids of municipalities, and which of them are served."""

import pytest

from budkavle.setting_values import COMPATIBILITY_APIS
from domain.errors import MunicipalityNotServed
from domain.municipalities import ALL_MUNICIPALITIES, COUNTY_IDS, MUNICIPALITY_IDS, VALID_IDS, ServedMunicipalities
from domain.web_messages import OepInstance
from openapi.application import read_spec
from tests.processes import REPOSITORY


def test_every_municipality_and_county_has_one_id() -> None:
    assert (len(set(MUNICIPALITY_IDS)), len(set(COUNTY_IDS)), len(VALID_IDS)) == (290, 21, 311)
    assert {"2281", "0180", "1480", "0980", "2584", "22", "01"} <= VALID_IDS


@pytest.mark.parametrize("name", COMPATIBILITY_APIS)
def test_contract_lists_the_same_ids(name: str) -> None:
    listed = read_spec(REPOSITORY / "spec", name)["components"]["schemas"]["MunicipalityId"]["enum"]
    assert listed == [*COUNTY_IDS, *MUNICIPALITY_IDS]


def test_only_allowed_municipalities_are_served() -> None:
    ServedMunicipalities(frozenset({"2281"})).check("2281")
    ALL_MUNICIPALITIES.check("2260")
    with pytest.raises(MunicipalityNotServed, match="Not implemented for municipalityId: 2260"):
        ServedMunicipalities(frozenset({"2281"})).check("2260")


def test_own_open_e_is_that_of_one_municipality() -> None:
    served = ServedMunicipalities(with_own_open_e=frozenset({"2281"}))
    assert served.find_own_open_e("2281", OepInstance.INTERNAL) == "2281/internal"
    assert served.find_own_open_e("2260", OepInstance.INTERNAL) is None
