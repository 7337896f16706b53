"""A patient is known by a pseudonym that nobody without the site's key can make."""

from __future__ import annotations

import hashlib
import hmac
import itertools

from hypothesis import given
from hypothesis import strategies as st

from db.ledger.identity import erase_identity
from db.ledger.pseudonyms import SiteKey, fill_pseudonyms
from tests.builders.database import accept_one, rows, uid_of

KEY = SiteKey(secret=b"k" * 32)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def fill(database, key=KEY):
    with database.transaction() as session:
        return fill_pseudonyms(session, key)


def pseudonyms(database):
    return [
        p for (p,) in rows(database, "SELECT patient_pseudonym FROM v1_studies ORDER BY study_key")
    ]


def test_it_is_hmac_sha256_of_issuer_and_id():
    expected = hmac.new(b"k" * 32, b"patient\0NORTH\0P-7", hashlib.sha256).hexdigest()
    assert KEY.of_patient("P-7", "NORTH") == expected == KEY.of_patient(" P-7 ", "NORTH ")
    assert "k" * 8 not in repr(KEY)


@given(
    st.lists(
        st.tuples(TEXTS, TEXTS),
        min_size=2,
        max_size=2,
        unique_by=lambda pair: (pair[0].strip(), pair[1].strip()),
    )
)
def test_two_patients_never_share_one(pairs):
    (first, issuer), (second, other) = pairs
    assert KEY.of_patient(first, issuer) != KEY.of_patient(second, other)


def test_id_accession_and_key_each_make_another():
    other = SiteKey(secret=b"o" * 32)
    made = [KEY.of_patient("7", None), KEY.of_accession("7"), other.of_patient("7", None)]
    assert all(a != b for a, b in itertools.combinations(made, 2))


def test_studies_of_one_patient_share_a_pseudonym_in_the_view(database):
    accept_one(database, uid=uid_of(1), patient_id="P-1")
    accept_one(database, uid=uid_of(2), patient_id="P-1", accession_number=None)
    accept_one(database, uid=uid_of(3), patient_id="P-2")
    accept_one(database, uid=uid_of(4), patient_id=None, accession_number="A-4")
    accept_one(database, uid=uid_of(5), patient_id=None, accession_number=None)
    assert pseudonyms(database) == [None] * 5

    assert (fill(database), fill(database)) == (4, 0)

    assert sorted(filter(None, pseudonyms(database))) == sorted(
        [KEY.of_patient("P-1", None)] * 2 + [KEY.of_patient("P-2", None)]
    )
    accessions = rows(database, "SELECT accession_pseudonym FROM study_identity")
    assert (KEY.of_accession("A-4"),) in accessions


def test_an_erased_patient_has_no_pseudonym_any_more(database):
    key = accept_one(database, patient_id="P-1").study_key
    fill(database)
    assert pseudonyms(database) != [None]

    with database.transaction() as session:
        erase_identity(session, key, "operator:ada")

    assert pseudonyms(database) == [None]
    assert fill(database) == 0
