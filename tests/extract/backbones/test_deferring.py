"""A module that is put off is imported by the first call of its functions, and is then the real one."""

import sys

import pytest

from crossan.extract.backbones import library
from crossan.extract.backbones.deferring import deferred


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Write a module ``shop`` and two that take names from it; return the place where each import leaves its name."""
    (tmp_path / "shop.py").write_text(
        "LIMIT = 3\ndef price(count, *, each=2):\n    return count * each\n"
    )
    (tmp_path / "till.py").write_text("from shop import price\n")
    (tmp_path / "sign.py").write_text("from shop import LIMIT, price\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("shop", "shop.stock", "till", "sign"):
        sys.modules.pop(name, None)


def test_a_function_imports_its_module_when_it_is_called(shop):
    with deferred("shop", "price"):
        import till
    assert "shop" not in sys.modules
    assert (till.price.__name__, till.price(3, each=5)) == ("price", 15)
    assert sys.modules["shop"].price(3) == till.price(3) == 6


def test_a_call_within_the_block_is_the_real_functions(shop):
    with deferred("shop", "price"):
        import till

        assert till.price(2) == 4
    assert sys.modules["shop"].LIMIT == 3


def test_another_name_is_imported_at_once(shop):
    with deferred("shop", "price"):
        import sign
    assert (sign.LIMIT, sign.price(1)) == (3, 2)
    with deferred("json", "dumps"), pytest.raises(ImportError, match="no_such_name"):
        from json import no_such_name  # noqa: F401


@pytest.mark.parametrize("missing", [(), ("price.stock",)])
def test_a_model_that_needs_a_module_within_it_is_imported(shop, tmp_path, monkeypatch, missing):
    """``shop`` is a package here, of which a library takes what the stand-in has not."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop.py").rename(tmp_path / "shop" / "__init__.py")
    (tmp_path / "shop" / "stock.py").write_text("COUNT = 7\n")

    class Library:
        @property
        def Model(self):  # noqa: N802 - the name of a class
            import till
            from shop.stock import COUNT

            for module in missing:
                __import__(module)
            return COUNT, till.price(3)

    monkeypatch.setattr(library, "transformers", Library())
    monkeypatch.setattr(library, "deferred", lambda *names: deferred("shop", "price"))
    if missing:
        with pytest.raises(ModuleNotFoundError, match="price"):
            library.find_model_class("Model")
    else:
        assert library.find_model_class("Model") == (7, 6)


def test_a_module_that_is_loaded_is_left_alone(shop):
    import shop as loaded

    with deferred("shop", "price"):
        import till
    assert till.price is loaded.price
    assert sys.modules["shop"] is loaded


def test_an_error_of_the_block_leaves_no_stand_in(shop):
    with pytest.raises(KeyError), deferred("shop", "price"):
        raise KeyError
    assert "shop" not in sys.modules
