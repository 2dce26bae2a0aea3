import pytest

from comit_ray.config import config_yaml
from comit_ray.errors import ConfigError


def test_a_shipped_file_goes_by_its_name_and_one_s_own_by_its_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("a: 1\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.yaml").write_text("a: 2\n")
    assert config_yaml.find("comit_net") == config_yaml.SHIPPED / "comit_net.yaml"
    assert config_yaml.read(config_yaml.find("mine.yaml")) == {"a": 1}
    assert config_yaml.read(config_yaml.find("mine.yaml", beside=tmp_path / "sub")) == {"a": 2}
    assert config_yaml.find("ablation_small", shipped=config_yaml.STUDIES).parent == config_yaml.STUDIES


@pytest.mark.parametrize("path", ["jobs/configs/comit_net.yaml", "/opt/comit-ray/jobs/configs/studies/ablation.yaml"])
def test_the_paths_of_before_still_find_the_shipped_files(path, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config_yaml.find(path).is_relative_to(config_yaml.SHIPPED)
    assert config_yaml.find(path).name == path.rpartition("/")[2]


@pytest.mark.parametrize("name", ["comit_nt", "comit_nt.yaml", "COMIT_NET"])
def test_an_unknown_name_is_told_the_nearest_and_all(name) -> None:
    with pytest.raises(ConfigError, match=r"no file .*did you mean comit_net\?.*shipped one: comit_net, "):
        config_yaml.find(name)


def test_a_directory_is_no_file(tmp_path) -> None:
    with pytest.raises(ConfigError, match="is a directory: expected a YAML file"):
        config_yaml.find(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n\tepochs: 3\n", r"c\.yaml, line 2: there is a tab; YAML is indented with spaces"),
        ("train:\n  epochs: 3\n  lr:\t[\t}\n", r"c\.yaml, line 3"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", r"c\.yaml, line 4: the key 'c' stands twice$"),
        ("a: 1\nb: [1\n", r"c\.yaml, line 3 is not YAML: expected ',' or ']'"),
        ("- a\n", r"c\.yaml: expected options \(key: value\), got \[a\]"),
        ("", r"c\.yaml: expected options \(key: value\), got null"),
    ],
)
def test_what_is_no_file_of_options_is_told_where_and_why(text, message, tmp_path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        config_yaml.read(tmp_path / "c.yaml")


def test_bytes_that_are_no_text_are_told_so(tmp_path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read"):
        config_yaml.read(tmp_path / "c.yaml")


def test_numbers_are_read_as_people_write_them(tmp_path) -> None:
    (tmp_path / "c.yaml").write_text("a: 5e-5\nb: 1E3\nc: 1.5e-3\nd: 0.5\ne: 10\nf: e5\n")
    found = config_yaml.read(tmp_path / "c.yaml")
    assert found == {"a": 5e-5, "b": 1000.0, "c": 1.5e-3, "d": 0.5, "e": 10, "f": "e5"}


def test_every_shipped_file_is_one_of_options() -> None:
    for path in sorted(config_yaml.SHIPPED.rglob("*.yaml")):
        assert config_yaml.read(path)
