"""Certificates good and bad, made by the openssl program."""
import pathlib
import subprocess
import tempfile

KEYS = {"ec": ("ec", "ec_paramgen_curve:prime256v1"), "rsa": ("rsa", "rsa_keygen_bits:2048"),
        "rsa1024": ("rsa", "rsa_keygen_bits:1024"), "p224": ("ec", "ec_paramgen_curve:secp224r1")}


class Certificates:
    """Files NAME.pem and NAME.key; signed by `by`, or by itself."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tls")
        self.where = pathlib.Path(self.folder.name)

    def path(self, name, end="pem"):
        return str(self.where / f"{name}.{end}")

    def text(self, name, end="pem"):
        return (self.where / f"{name}.{end}").read_text()

    def run(self, *command):
        subprocess.run(["openssl", *command], check=True, capture_output=True, cwd=self.where)

    def make(self, name, *extensions, by=None, key="ec", days=2, subject=None, digest="sha256"):
        """An extension is "name=value" of openssl's configuration."""
        kind, option = KEYS[key]
        signed = ["-CA", f"{by}.pem", "-CAkey", f"{by}.key"] if by else []
        if not any(e.startswith("basicConstraints") for e in extensions):
            extensions += ("basicConstraints=critical,CA:FALSE",)
        self.run("req", "-x509", *signed, "-newkey", kind, "-pkeyopt", option, "-nodes", "-days", str(days), f"-{digest}",
                 "-subj", subject or f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem",
                 *(part for e in extensions for part in ("-addext", e)))

    def make_dated(self, name, san, by, start, end):
        """start, end: YYMMDDHHMMSSZ."""
        (self.where / "dated.cnf").write_text(
            "[ca]\ndefault_ca=x\n[x]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n"
            f"x509_extensions=e\nrand_serial=yes\nunique_subject=no\n[p]\ncommonName=supplied\n[e]\nsubjectAltName={san}\n")
        (self.where / "index").write_text("")
        self.run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self.run("ca", "-batch", "-config", "dated.cnf", "-cert", f"{by}.pem", "-keyfile", f"{by}.key", "-in", f"{name}.csr",
                 "-startdate", start, "-enddate", end, "-notext", "-out", f"{name}.pem")

    def chain(self, name, *parts):
        (self.where / f"{name}.pem").write_text("".join(self.text(p) for p in parts))
        (self.where / f"{name}.key").write_text(self.text(parts[0], "key"))

    def revoke(self, name, by):
        """NAME's list of revocation as `by`.crl."""
        (self.where / "crl.cnf").write_text("[ca]\ndefault_ca=x\n[x]\ndatabase=revoked\ndefault_md=sha256\ndefault_crl_days=2\n")
        (self.where / "revoked").write_text("")
        for command in (["-revoke", f"{name}.pem"], ["-gencrl", "-out", f"{by}.crl"]):
            self.run("ca", "-config", "crl.cnf", "-cert", f"{by}.pem", "-keyfile", f"{by}.key", *command)
