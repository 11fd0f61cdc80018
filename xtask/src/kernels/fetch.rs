//! A kernel's image and the modules a guest needs, out of Debian's packages, from this system's own mirror.
//!
//! Entry point: [`ensure`]. Each kernel has an apt state of its own: this system's lists and packages stay
//! as they are, and nothing is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::Kernel;
use crate::command;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What is taken out of the packages, wherever a release puts it; modules besides.
const WANTED: [&str; 3] = ["./boot/vmlinuz*", "./lib/modules/*/vmlinuz", "./usr/lib/modules/*/vmlinuz"];
/// The modules a guest loads, in this order: pods are joined by veths, and their sockets listed by sock_diag.
pub(super) const MODULES: [&str; 3] = ["inet_diag", "tcp_diag", "veth"];

/// What a guest needs of a kernel.
pub(crate) struct Image {
    /// The kernel, as qemu boots it.
    pub(crate) vmlinuz: PathBuf,
    /// [`MODULES`], possibly compressed.
    pub(crate) modules: Vec<PathBuf>,
}

/// The files of `kernel` in `folder`, fetched if they are not there.
pub(crate) fn ensure(kernel: &Kernel, folder: &Path) -> Result<Image> {
    if let Ok(image) = image(folder) {
        return Ok(image);
    }
    eprintln!("fetching kernel {} (about 40 MB)", kernel.name);
    let apt = Apt::new(kernel, folder.with_extension("apt"))?;
    for package in apt.download()? {
        unpack(&package, folder)?;
    }
    fs::remove_dir_all(&apt.dir)?;
    image(folder).with_context(|| format!("kernel {}: its packages hold another layout", kernel.name))
}

fn image(folder: &Path) -> Result<Image> {
    let find =
        |prefix: &str| find(folder, prefix).with_context(|| format!("no {prefix} in {}", folder.display()));
    let modules = MODULES.iter().map(|name| find(&format!("{name}.ko"))).collect::<Result<_>>()?;
    Ok(Image { vmlinuz: find("vmlinuz")?, modules })
}

fn find(dir: &Path, prefix: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir && let Some(found) = find(&entry.path(), prefix) {
            return Some(found);
        }
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && entry.file_name().to_string_lossy().starts_with(prefix) {
            return Some(entry.path());
        }
    }
    None
}

/// apt with a state of its own.
struct Apt<'k> {
    kernel: &'k Kernel,
    dir: PathBuf,
}

impl<'k> Apt<'k> {
    fn new(kernel: &'k Kernel, dir: PathBuf) -> Result<Self> {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("lists/partial"))?;
        fs::create_dir_all(dir.join("debs"))?;
        let mirror = mirror()?;
        let source = |(archive, suite): &(&str, &str)| {
            format!("deb [signed-by={KEYRING}] {mirror}/{archive} {suite} main\n")
        };
        fs::write(dir.join("sources.list"), kernel.suites.iter().map(source).collect::<String>())?;
        Ok(Self { kernel, dir })
    }

    /// The package of the matrix and, of what it depends on, what holds a kernel or modules.
    fn download(&self) -> Result<Vec<PathBuf>> {
        command::output(self.apt_get().args(["update", "-qq"]))?;
        let mut todo = vec![self.kernel.package.to_owned()];
        let mut seen = Vec::new();
        while let Some(package) = todo.pop() {
            if seen.contains(&package) {
                continue;
            }
            let mut download = self.apt_get();
            command::output(download.args(["download", "-qq", &package]).current_dir(self.dir.join("debs")))?;
            seen.push(package);
            for file in self.debs()? {
                let mut field = Command::new("dpkg-deb");
                todo.extend(kernel_packages(&command::output(field.arg("-f").arg(file).arg("Depends"))?));
            }
        }
        self.debs()
    }

    fn debs(&self) -> Result<Vec<PathBuf>> {
        fs::read_dir(self.dir.join("debs"))?.map(|entry| Ok(entry?.path())).collect()
    }

    fn apt_get(&self) -> Command {
        let mut apt = Command::new("apt-get");
        let dir = self.dir.display();
        for option in [
            format!("Dir::Etc::sourcelist={dir}/sources.list"),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={dir}/lists"),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ] {
            apt.args(["-o", &option]);
        }
        apt
    }
}

/// The host that this system's packages come from: it carries the other suites too.
fn mirror() -> Result<String> {
    if !Path::new(KEYRING).exists() {
        bail!("kernels are fetched from Debian, whose keyring is not here: {KEYRING}");
    }
    let sites = command::output(Command::new("apt-get").args(["indextargets", "--format", "$(SITE)"]))?;
    let debian = sites.lines().find_map(|site| site.trim_end_matches('/').strip_suffix("/debian"));
    debian.map(str::to_owned).context("apt on this system has no Debian mirror to fetch kernels from")
}

/// Of a `Depends` field, the packages that hold a kernel's parts.
fn kernel_packages(depends: &str) -> Vec<String> {
    let names = depends.split([',', '|']).filter_map(|part| part.split_whitespace().next());
    let is_part = |name: &&str| {
        ["linux-image-", "linux-binary-", "linux-modules-"]
            .iter()
            .filter_map(|prefix| name.strip_prefix(prefix))
            .any(|version| version.starts_with(|first: char| first.is_ascii_digit()))
    };
    names.filter(is_part).map(str::to_owned).collect()
}

/// Takes what is wanted out of `package`; tar's status is not asked, since no package holds all of it.
fn unpack(package: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut tar_of = Command::new("dpkg-deb");
    let mut unpacker = tar_of.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn()?;
    let tarball = unpacker.stdout.take().context("dpkg-deb has no output")?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--wildcards", "-C"]).arg(folder).args(WANTED);
    tar.args(MODULES.map(|name| format!("*/{name}.ko*")));
    tar.stdin(tarball).stderr(Stdio::null()).status().context("cannot start tar")?;
    unpacker.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_with_parts_of_a_kernel_are_followed() {
        let depends = "kmod, linux-base (>= 4.3~), linux-image-6.1.0-40-cloud-amd64 (= 6.1.1) | linux-modules-7.0, linux-initramfs-tool";
        assert_eq!(kernel_packages(depends), ["linux-image-6.1.0-40-cloud-amd64", "linux-modules-7.0"]);
    }
}
