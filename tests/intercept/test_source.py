"""Shell. The BPF text: flattened, its cache key, and what the compiler says of it."""

from pathlib import Path

import pytest

from meshtrio.intercept import source


def write(folder: Path, **files: str) -> Path:
    for name, lines in files.items():
        (folder / name.replace("_", ".")).write_text(lines)
    return folder / "main.c"


def test_an_include_is_put_in_place_with_its_own_line_numbers(tmp_path: Path) -> None:
    main = write(tmp_path, main_c='first\n#include "a.h"\nthird\n', a_h="in a\n")
    assert source.flatten(main).splitlines() == [
        '#line 1 "main.c"',
        "first",
        '#line 1 "a.h"',
        "in a",
        '#line 3 "main.c"',
        "third",
    ]


def test_a_file_is_included_once(tmp_path: Path) -> None:
    main = write(tmp_path, main_c='#include "a.h"\n#include "b.h"\n', a_h='#include "b.h"\n', b_h="in b\n")
    assert source.flatten(main).splitlines().count("in b") == 1


def test_files_that_include_each_other_end(tmp_path: Path) -> None:
    main = write(
        tmp_path, main_c='#include "a.h"\n', a_h='#include "b.h"\nin a\n', b_h='#include "a.h"\nin b\n'
    )
    lines = source.flatten(main).splitlines()
    assert (lines.count("in a"), lines.count("in b")) == (1, 1)


def test_an_include_is_sought_beside_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    write(tmp_path / "include", a_h='#include "b.h"\n', b_h="in include/b\n")
    main = write(tmp_path, main_c='#include "include/a.h"\n', b_h="in b\n")
    assert "in include/b" in source.flatten(main)


def test_system_includes_stay(tmp_path: Path) -> None:
    assert "#include <linux/types.h>" in source.flatten(write(tmp_path, main_c="#include <linux/types.h>\n"))


def test_a_missing_include_is_named(tmp_path: Path) -> None:
    main = write(tmp_path, main_c='#include "gone.h"\n')
    with pytest.raises(source.CompileError, match=r"incomplete: .*gone\.h"):
        source.flatten(main)


def test_our_own_text_is_found_and_whole() -> None:
    flat = source.flatten(source.text_root() / "meshtrio.c")
    assert '#include "' not in flat
    assert flat.count("struct place {") == 1


def test_the_key_changes_with_the_text_and_the_headers(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text("1")
    key = source.cache_key("text", tmp_path)
    assert source.cache_key("text", tmp_path) == key
    assert source.cache_key("text ", tmp_path) != key
    (tmp_path / "a.h").write_text("2")
    assert source.cache_key("text", tmp_path) != key


@pytest.mark.kernel
async def test_a_compiler_message_names_file_and_line(text: Path) -> None:
    (text / "include" / "one.h").write_text("#pragma once\n\n\n#define ONE nonsense\n")
    (text / "small.c").write_text(
        "\n" + (text / "small.c").read_text() + "\nint wrong(void *ctx)\n{\n\treturn more_nonsense;\n}\n"
    )
    with pytest.raises(source.CompileError, match="bcc could not compile") as failed:
        await source.compiled(None, "small.c")
    said = str(failed.value)
    assert "small.c:5:9: error: use of undeclared identifier 'nonsense'" in said
    assert "small.c:10:9: error: use of undeclared identifier 'more_nonsense'" in said
    assert "one.h:" in said
