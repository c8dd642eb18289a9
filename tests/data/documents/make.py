"""Make documents of each format for tests: PDF by hand, so that its fonts and positions are known."""

from __future__ import annotations

import io
import json
import zipfile


def pdf(pages, title=None, size=(595, 842)):
    """A PDF; a page is a list of (font size, x, y, text) in points from the bottom left."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    kids = []
    for page in pages:
        drawn = b"".join(
            b"BT /F1 %d Tf %d %d Td (%s) Tj ET\n"
            % (points, x, y, text.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)"))
            for points, x, y, text in page
        )
        objects.append(b"<< /Length %d >>\nstream\n%sendstream" % (len(drawn), drawn))
        contents = len(objects)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % (*size, contents)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    if title:
        objects.append(b"<< /Title (%s) >>" % title.encode("cp1252"))
    made, places = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    info = b" /Info %d 0 R" % len(objects) if title else b""
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return made + b"trailer << /Size %d /Root 1 0 R%s >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, info, start)


def docx(title="Manual"):
    from docx import Document

    document = Document()
    document.core_properties.title = title or ""
    document.add_heading("Café rules", 1)
    document.add_paragraph("Be kind. Ça va?")
    document.add_heading("Details", 2)
    document.add_paragraph("first", style="List Bullet")
    document.add_paragraph("second", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for row, words in enumerate([("name", "age"), ("Ann", "7")]):
        for column, word in enumerate(words):
            table.cell(row, column).text = word
    return saved(document)


def pptx():
    from pptx import Presentation

    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Plan"
    slide.placeholders[1].text = "one\ntwo"
    slide.placeholders[1].text_frame.paragraphs[1].level = 1
    slide.notes_slide.notes_text_frame.text = "Say hello."
    second = deck.slides.add_slide(deck.slide_layouts[5])
    second.shapes.title.text = "資料"
    table = second.shapes.add_table(2, 2, 0, 0, 100, 100).table
    for row, words in enumerate([("a", "b"), ("1", "2|3")]):
        for column, word in enumerate(words):
            table.cell(row, column).text = word
    return saved(deck)


def saved(document):
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def epub(*, locked=()):
    container = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
    package = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">
      <metadata><dc:title>Das Buch</dc:title></metadata>
      <manifest><item id="b" href="b%20c.xhtml" media-type="application/xhtml+xml"/>
      <item id="a" href="a.xhtml" media-type="application/xhtml+xml"/>
      <item id="i" href="i.png" media-type="image/png"/></manifest>
      <spine><itemref idref="b"/><itemref idref="a"/></spine></package>"""
    files = {
        "META-INF/container.xml": container,
        "OPS/book.opf": package,
        "OPS/a.xhtml": "<html><body><h1>Two</h1><p>Ende</p></body></html>",
        "OPS/b c.xhtml": "<html><body><h1>One</h1><p>Anfang</p></body></html>",
        "OPS/i.png": "x",
    }
    if locked:
        listed = "".join(f'<d xmlns="urn:x"><CipherReference URI="{name}"/></d>' for name in locked)
        files["META-INF/encryption.xml"] = f"<encryption>{listed}</encryption>"
    return zipped(files)


def zipped(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def notebook():
    cells = [
        {"cell_type": "markdown", "source": ["# Study\n", "\n", "Text."]},
        {"cell_type": "code", "source": "print(1)\n", "outputs": [{"text": "1"}]},
        {"cell_type": "code", "source": []},
    ]
    return json.dumps({"nbformat": 4, "metadata": {"language_info": {"name": "julia"}}, "cells": cells}).encode()
