"""The configuration of the node: its keys, defaults and limits. Unknown keys are errors."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ByteSize, Field, model_validator

from medley.errors import MedleyError
from medley.node.header import Received
from medley.runtime.configuration import Strict, checked, read_configuration
from medley.runtime.names import check_name
from medley.runtime.text import did_you_mean

_PATHS = ("folder", "certificate", "key", "authorities", "password_file", "model")


def _ae_title(text: str) -> str:
    """PS3.5, VR AE: at most 16 printable ASCII characters without a backslash, not only spaces."""
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", text) or text != text.strip():
        raise ValueError("an AE title has 1 to 16 printable ASCII characters, no backslash and no spaces at its ends")
    return text


def _network(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address or a network such as 10.1.2.0/24") from None


def _name(text: str) -> str:
    try:
        return check_name(text, "the name")
    except MedleyError as error:
        raise ValueError(str(error)) from None


AeTitle = Annotated[str, AfterValidator(_ae_title)]
Port = Annotated[int, Field(gt=0, lt=65536)]
Name = Annotated[str, AfterValidator(_name)]
Seconds = Annotated[float, Field(ge=0)]
Size = Annotated[ByteSize, Field(gt=0)]


class Tls(Strict):
    """Certificates for TLS in both directions: both sides show one.

    Attributes
    ----------
    certificate, key: of this node, PEM files.
    authorities: PEM file with the certificates that sign those of the peers; a peer without one of them is refused.
    """

    certificate: Path
    key: Path
    authorities: Path


class Peer(Strict):
    """A program that may send objects to the node.

    Attributes
    ----------
    ae_title: its own AE title (calling AE title).
    address: its IP address, or a network such as 10.1.2.0/24.
    """

    ae_title: AeTitle
    address: Annotated[str, AfterValidator(_network)]

    def is_at(self, address: str) -> bool:
        """Whether an IP address is that of the peer."""
        found = ip_address(address)
        return (getattr(found, "ipv4_mapped", None) or found) in ip_network(self.address)


class Limits(Strict):
    """What the node accepts from its peers.

    Attributes
    ----------
    pdu_size: the largest protocol data unit; a longer one ends the connection before it is read.
    object_size: the largest object as it is sent.
    pixels_size: the largest size of an object's pixels after decompression, by its header.
    associations: how many associations may be open at the same time.
    idle_seconds: how long a peer may take for each protocol data unit.
    free_disk: objects are refused as long as the disk of `folder` has less free space; the sender keeps them.
    """

    pdu_size: Size = Field(ByteSize(2**18), ge=4096, le=2**24)
    object_size: Size = ByteSize(2**31)
    pixels_size: Size = ByteSize(2**32)
    associations: int = Field(8, gt=0, le=200)
    idle_seconds: float = Field(60, gt=0)
    free_disk: ByteSize = ByteSize(2 * 10**9)


class Completion(Strict):
    """When a series is complete. Where the number of its objects is known, it is complete when that number has arrived.

    Attributes
    ----------
    released_seconds: after the end of the last association that sent objects of it. null: the end does not count,
        for senders that use an association for each object.
    quiet_seconds: after its last object, also if an association is still open or was aborted. A series whose number of
        objects is known and has not arrived is then set aside.
    """

    released_seconds: Seconds | None = 5
    quiet_seconds: Seconds = 120


class Options(Strict):
    """Options of a restoration, as of `medley restore`; see `medley.inference.plan.RestoreOptions`."""

    task: str = "auto"
    strength: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = 1.0
    target_noise: float | None = Field(None, gt=0)
    scale: Literal[1, 2, 4] = 1
    keep_measured: bool = False
    measured: tuple[int, int] | None = None
    noise: float | None = Field(None, gt=0)
    allow_windows: bool = False


class Rule(Strict):
    """Which series a network processes, and where the results are sent. The first rule that fits a series counts.

    Series that medley made fit no rule.

    Attributes
    ----------
    model: a packaged model or a weights file that restores or predicts.
    modality: such as CT. description: pattern for the series description, such as "*thin*"; case does not count.
    sender: AE title of the peer. image_type: values that ImageType must contain, such as [ORIGINAL, PRIMARY].
    minimum_images: number of images (frames) that a series must have.
    options: of a restoration.
    send_to: names of `archives`.
    """

    model: str
    modality: str
    description: str = "*"
    sender: AeTitle | None = None
    image_type: tuple[str, ...] = ()
    minimum_images: int = Field(1, gt=0)
    options: Options = Options()
    send_to: tuple[Name, ...] = Field(min_length=1)

    def fits(self, one: Received, sender: str, images: int) -> bool:
        """Whether the rule selects a series.

        Parameters
        ----------
        one: the header of one of its objects. images: the number of its images.
        """
        return (
            not one.derived
            and one.modality == self.modality
            and fnmatchcase(one.description.casefold(), self.description.casefold())
            and self.sender in (None, sender)
            and set(self.image_type) <= set(one.image_type)
            and images >= self.minimum_images
        )


class DicomArchive(Strict):
    """A DICOM application: results are sent to it by C-STORE, series are requested by C-FIND and C-MOVE.

    Attributes
    ----------
    ae_title, address, port: its own. tls: if it wants TLS.
    """

    ae_title: AeTitle
    address: str
    port: Port
    tls: Tls | None = None


class WebArchive(Strict):
    """A DICOMweb server: results are sent to it by STOW-RS, series are requested by QIDO-RS and WADO-RS.

    Attributes
    ----------
    url: the root of its services.
    user, password_file: for basic authentication; the file holds the password and nothing else.
    authorities: PEM file with the certificates that sign the server's; by default those of Python's package certifi.
    """

    url: str = Field(pattern=r"^https?://\S+$")
    user: str | None = None
    password_file: Path | None = None
    authorities: Path | None = None

    @model_validator(mode="after")
    def _user_with_password(self) -> WebArchive:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together")
        return self


class Archive(Strict):
    """Where results are sent to, and where series can be requested from: `dicom` or `web`.

    Attributes
    ----------
    look_up: ask, before an object is sent again after a crash, whether it has arrived already. Turn this off for a
        destination that answers no queries; it may then get an object a second time, with the same UID.
    """

    dicom: DicomArchive | None = None
    web: WebArchive | None = None
    look_up: bool = True

    @model_validator(mode="after")
    def _one_of_both(self) -> Archive:
        if (self.dicom is None) == (self.web is None):
            raise ValueError("expected either dicom or web")
        return self


class Retry(Strict):
    """Repetition of sending.

    Attributes
    ----------
    first_seconds, longest_seconds: the pause after the first failure, and the longest; each pause is twice the last.
    refusals: how often the destination may refuse an object before its series is set aside. An unreachable
        destination, or one without space, is tried without an end.
    """

    first_seconds: float = Field(30, gt=0)
    longest_seconds: float = Field(3600, gt=0)
    refusals: int = Field(5, gt=0)

    def pause(self, attempts: int) -> float:
        """Seconds to wait after so many failed attempts."""
        return min(self.first_seconds * 2.0 ** min(attempts - 1, 60), self.longest_seconds)


class Metrics(Strict):
    """The address of the metrics for Prometheus; they contain no patient data."""

    address: str = "127.0.0.1"
    port: Port


class PacsSettings(Strict):
    """Keys of pacs.yaml. Paths are relative to that file.

    Attributes
    ----------
    folder: for the queue and the objects in it; only this user can read it.
    ae_title, address, port: of the node. The address is that of a network interface; 0.0.0.0 is all of them.
    tls: peers must use TLS and show a certificate.
    peers, limits, complete, rules, archives, retry, metrics: see there.
    device: for the networks: auto, cpu, cuda ...
    keep_days: how long a finished series and its objects are kept. An object that is received again in this time is
        recognised, and neither processed nor sent again.
    """

    folder: Path
    ae_title: AeTitle = "MEDLEY"
    address: str = "127.0.0.1"
    port: Port = 11112
    tls: Tls | None = None
    peers: tuple[Peer, ...] = Field(min_length=1)
    limits: Limits = Limits()
    complete: Completion = Completion()
    rules: tuple[Rule, ...] = Field(min_length=1)
    archives: dict[Name, Archive] = Field(min_length=1)
    retry: Retry = Retry()
    metrics: Metrics | None = None
    device: str = "auto"
    keep_days: float = Field(2, ge=0)

    @model_validator(mode="after")
    def _known_archives(self) -> PacsSettings:
        for number, rule in enumerate(self.rules):
            for name in rule.send_to:
                if name not in self.archives:
                    raise ValueError(
                        f"rules.{number}.send_to: there is no archive {name!r}{did_you_mean(name, self.archives)}"
                    )
        return self

    def rule_for(self, one: Received, sender: str, images: int) -> Rule | None:
        """The first rule that fits a series; None for none. Parameters as of `Rule.fits`."""
        return next((rule for rule in self.rules if rule.fits(one, sender, images)), None)


def read_settings(path: Path) -> PacsSettings:
    """The configuration in a YAML file.

    Raises
    ------
    MedleyError: the file cannot be read, or has unknown keys or invalid values, all of which are named.
    """
    content = read_configuration(path, "the configuration")
    return checked(PacsSettings, _relative_to(path.absolute().parent, content), f"the configuration {path}")


def _relative_to(folder: Path, content: Any) -> Any:
    """The same content with absolute paths. A model is a path where there is such a file; else it is a name."""
    if isinstance(content, list):
        return [_relative_to(folder, one) for one in content]
    if not isinstance(content, dict):
        return content
    return {
        key: str(folder / value)
        if key in _PATHS and isinstance(value, str) and (key != "model" or (folder / value).is_file())
        else _relative_to(folder, value)
        for key, value in content.items()
    }
