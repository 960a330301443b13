//! The installed package of a file of this host, by its package manager.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const DPKG: &str = "/usr/bin/dpkg-query";
const RPM: &str = "/usr/bin/rpm";

/// Name and version; `None` if no package manager knows the file.
pub(super) fn owner(path: &Path) -> Option<String> {
    dpkg(path).or_else(|| rpm(path))
}

/// The output of a program, with any exit status; `None` if it cannot be run.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(args).env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    let output = command.stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()
}

fn dpkg(path: &Path) -> Option<String> {
    let names = aliases(path)?;
    let args: Vec<&str> = ["--search", "--"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let package = dpkg_package(&output(DPKG, &args)?)?;
    let version = output(DPKG, &["--show", "--showformat=${Package} ${Version}\n", "--", &package])?;
    version.lines().next().map(str::to_owned).filter(|line| !line.is_empty())
}

fn rpm(path: &Path) -> Option<String> {
    let format = "%{NAME} %{VERSION}-%{RELEASE}\n";
    let found = output(RPM, &["--query", "--file", "--queryformat", format, "--", path.to_str()?])?;
    // rpm prints this in place of a package: "file … is not owned by any package".
    found.lines().next().map(str::to_owned).filter(|line| line.split(' ').count() == 2)
}

/// The names by which a package may have the file: if /lib is a link to /usr/lib, the kernel reports the second and
/// dpkg knows the first. The list is empty for a name that dpkg would read as a pattern.
fn aliases(path: &Path) -> Option<Vec<String>> {
    let text = path.to_str().filter(|text| text.starts_with('/') && !text.contains(['*', '?', '[', '\\']))?;
    let mut names = vec![text.to_owned()];
    if let Some(short) = text.strip_prefix("/usr").filter(|short| short.starts_with('/')) {
        let directory = PathBuf::from(short).components().take(2).collect::<PathBuf>();
        if directory.is_symlink() {
            names.push(short.to_owned());
        }
    }
    Some(names)
}

/// The first package in lines like `libc6:amd64, other: /lib/x86_64-linux-gnu/libc.so.6`.
fn dpkg_package(text: &str) -> Option<String> {
    let mut lines =
        text.lines().filter(|line| !line.starts_with("diversion by ") && !line.starts_with("local diversion "));
    let (packages, _) = lines.next()?.split_once(": ")?;
    packages.split(", ").next().map(str::to_owned).filter(|package| !package.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpkg_says() {
        let package = |text: &str| dpkg_package(text);
        assert_eq!(package("libc6:amd64: /lib/x86_64-linux-gnu/libc.so.6\n").as_deref(), Some("libc6:amd64"));
        assert_eq!(package("a, b:i386: /usr/share/doc\n").as_deref(), Some("a"));
        let diverted = "diversion by x from: /usr/bin/y\ndiversion by x to: /usr/bin/y.x\nz: /usr/bin/y\n";
        assert_eq!(package(diverted).as_deref(), Some("z"));
        for nothing in ["", "\n", ": /a\n", "no separator\n"] {
            assert_eq!(package(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn names_that_are_looked_for() {
        assert_eq!(aliases(Path::new("/opt/a.so")), Some(vec!["/opt/a.so".to_owned()]));
        assert!(aliases(Path::new("/usr/lib/a.so")).is_some_and(|names| names[0] == "/usr/lib/a.so"));
        for pattern in ["relative", "", "/a*", "/a?", "/a[b]", "/a\\b"] {
            assert_eq!(aliases(Path::new(pattern)), None, "{pattern}");
        }
    }

    /// Debian's own tools know the program that asks them.
    #[test]
    fn a_file_of_a_package() {
        let path = Path::new(DPKG);
        if path.exists() {
            assert!(owner(path).is_some_and(|owner| owner.starts_with("dpkg ")), "{:?}", owner(path));
        }
        assert_eq!(owner(Path::new("/nonexistent/file")), None);
    }
}
