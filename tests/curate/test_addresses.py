"""Secrets in addresses: no manifest takes one, and nothing that is printed says one."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from curate.addresses import check_no_secret, without_secrets
from curate.cli import main

SECRET = [
    "https://me:hunter2@host/a.jsonl",
    "HTTPS://hunter2@host/a.jsonl",
    "http://:hunter2@host",
    "ftp://me:hunter2@host:21/a",
    "s3://AKIA1:hunter2/x+y=@bucket/a",
    "redis://:hunter2@host:6379/0",
    "hdfs://me:1234hunter2@host/a",
    "https://host/a?x=1&X-Amz-Signature=hunter2",
    "https://host/a?sig=hunter2&x=1",
    "https://host/a/b?token=hunter2#c",
    "https://host/a?client_secret=hunter2",
    "https://host/a?privateToken=hunter2",
    "https://host/a;jsessionid=hunter2?b=c",
    "https://host/a#access_token=hunter2",
    "https://host/a?code=hunter2-K5bV9xQ0_w8aZ==",
    "https://host/a?AWSAccessKeyId=hunter2",
]
PLAIN = [
    "https://host/a?b=c&page=2",
    "https://host/a?keyword=b&tokens=5&design=6;monkey=7",
    "https://host/a?code=en-US&countrycode=DE",
    "https://host:8080/a@b",
    "https://host/@me/a",
    "abfs://container@account.dfs.core.windows.net/a",
    "sftp://me@host/a",
    "hf://datasets/a/b@main/c.parquet",
    "s3://bucket/key=3/a",
    "redis://host:6379/0",
    "see https://host: or a@b.c",
]


@pytest.mark.parametrize("address", SECRET)
def test_a_manifest_with_a_secret_in_an_address_is_refused_without_saying_it(tmp_path, address):
    manifest = tmp_path / "m.toml"
    manifest.write_text(
        f'[[source]]\nname = "a"\nformat = "jsonl"\npath = "{address}"\n[[level]]\nname = "raw"\n'
    )
    for command in ("plan", "build"):
        done = CliRunner().invoke(main, [command, str(manifest), "--store", str(tmp_path / "store")])
        assert done.exit_code == 2
        assert "would be in the lock as well" in done.output
        assert "environment variable " in done.output
        assert "hunter2" not in done.output
    assert [p.name for p in tmp_path.rglob("*")] == ["m.toml"]


@pytest.mark.parametrize("address", SECRET)
def test_what_is_printed_goes_without_the_secret(address):
    said = without_secrets(f'source "x": {address}: not found')
    assert "hunter2" not in said
    assert "***" in said
    assert said.endswith(" not found")


def test_a_path_that_was_an_address_goes_without_the_secret():
    for address in SECRET:
        assert "hunter2" not in without_secrets(f"{Path(address)}: no run")


@pytest.mark.parametrize("address", PLAIN)
def test_an_address_without_a_secret_stays_as_it_is(address):
    check_no_secret(f'path = "{address}"  # and more')
    assert without_secrets(f"{address}: not found") == f"{address}: not found"


def test_a_secret_in_a_comment_would_be_in_the_lock_as_well(tmp_path):
    (tmp_path / "m.toml").write_text("# from ftp://me:hunter2@host\n")
    done = CliRunner().invoke(main, ["plan", str(tmp_path / "m.toml")])
    assert "FSSPEC_FTP_PASSWORD" in done.output


def test_no_manifest_of_the_repository_holds_one():
    for path in (Path(__file__).parents[2] / "manifests").glob("*.toml"):
        check_no_secret(path.read_text())
