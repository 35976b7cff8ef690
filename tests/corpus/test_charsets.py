"""Encodings of source files: right, or rejected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.corpus import charsets

CODE = "int size(int a, int b)\n{\n    return a * b;\n}\n"
# What people write above their functions, by encodings in which they wrote it.
COMMENTS = [
    ("Author: José", ["cp1252", "iso8859-1", "iso8859-15"]),
    ("Größe der Tabelle, für jede Übung geprüft", ["cp1252"]),
    ("Vérifie que la clé a été trouvée, à défaut crée-la", ["cp1252"]),
    ("Comprueba que el tamaño sea válido según la configuración", ["cp1252"]),
    ("中文注释", ["gbk", "gb18030"]),
    ("读取配置文件并返回所有的键值，如果文件不存在则返回空", ["gbk", "gb18030"]),
    ("讀取設定檔並傳回所有的鍵值，如果檔案不存在則傳回空值", ["big5"]),
    ("設定ファイルを読み込み、すべての値を返します。", ["shift_jis", "cp932", "euc_jp"]),
    ("설정 파일을 읽고 모든 값을 반환합니다", ["cp949", "euc_kr"]),
    ("Читает файл настроек и возвращает все значения", ["cp1251", "koi8-r"]),
    ("Přečte soubor s nastavením a vrátí všechny hodnoty", ["cp1250", "iso8859-2"]),
    ("Wczytuje plik konfiguracyjny i zwraca wszystkie wartości błędów", ["cp1250", "iso8859-2"]),
]
UNICODE = [
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "utf-32-le",
    "utf-32-be",
]


@pytest.mark.parametrize("comment", [comment for comment, _ in COMMENTS])
@pytest.mark.parametrize("encoding", UNICODE)
def test_unicode_is_read_with_and_without_a_mark(comment, encoding):
    text = f"// {comment}\n{CODE}"
    assert charsets.decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("comment", "encoding"),
    [(comment, encoding) for comment, encodings in COMMENTS for encoding in encodings],
)
def test_a_comment_in_an_old_encoding_is_read_as_it_was_written(comment, encoding):
    text = f"// {comment}\n{CODE}"
    assert charsets.decode(text.encode(encoding)) == text


def test_japanese_mail_encoding_is_read():
    text = f"// 設定を読み込む\n{CODE}"
    assert charsets.decode(text.encode("iso2022_jp")) == text


@pytest.mark.parametrize(
    "line",
    [
        "# -*- coding: koi8-r -*-",
        "#!/usr/bin/ruby\n# encoding: koi8-r",
        "# vim: set fileencoding=koi8-r :",
        ";; -*- mode: lisp; coding: koi8-r-unix -*-",
    ],
)
def test_a_declared_encoding_holds_without_a_guess(line):
    text = f"{line}\n# Да\n"
    assert charsets.decode(text.encode("koi8-r")) == text


@pytest.mark.parametrize(
    "comment",
    [
        "© 2004 Ada",
        "(c) © (Ada)",
        "at 20 °C",
        "20° or 30°, at most",
        "takes 5 µs",
        "at ± 1",
        "Shelf® 2",
    ],
)
def test_signs_alone_are_those_of_windows(comment):
    text = f"// {comment}\n{CODE}"
    for codec in ("cp1250", "cp1251", "cp1252", "cp1253", "cp1254"):
        assert charsets.decode(text.encode(codec)) == text


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0" * 20,
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)),
        bytes(range(256)) * 4,
        b"int x;\0\n",
        "x = 1\n".encode("utf-16")[:-1],
        b"\xef\xbb\xbfcaf\xe9",
        b"# coding: utf-8\n# caf\xe9\n",
        b"# coding: koi8-r\n\xff\xfe\0",
        b"// \x81\n",
        b"// \xb1le\n",  # a sign of Windows, where a letter of another encoding may stand
        b"// \xe8\n",  # è, č, и, and half of a Chinese character
    ],
)
def test_doubt_and_binary_data_are_rejected(data):
    with pytest.raises(charsets.Undecodable, match=r".+"):
        charsets.decode(data)


@pytest.mark.parametrize(
    "text",
    ["Josй", "JosÈ", "w„hlen", "a\x85b", "a\ue000", "Gr\u0301o", "\ufffd"],
)
def test_signs_of_a_wrong_encoding(text):
    if text == "Gr\u0301o":
        assert not charsets.is_plausible(text)
        return
    assert not charsets.is_plausible(text)


@pytest.mark.parametrize(
    "text",
    ["José", "ÉTÉ", "d’été", "naïve", "Größe", "Размер size", "中文", "x² ≥ y", "„wählen“", "µs"],
)
def test_words_as_people_write_them_are_plausible(text):
    assert charsets.is_plausible(text)


@given(st.binary(max_size=200))
def test_any_bytes_give_text_or_a_reject(data):
    try:
        text = charsets.decode(data)
    except charsets.Undecodable:
        return
    text.encode()
    assert "\0" not in text


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=100))
def test_utf8_is_never_taken_for_something_else(text):
    written = f"x{text}"  # a mark is no text
    if "\x1b" not in text:
        assert charsets.decode(written.encode()) == written
