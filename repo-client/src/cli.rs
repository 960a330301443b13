//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use snapfn_image::Compression;
use std::ffi::OsString;
use std::path::PathBuf;

/// Number of layers that are transferred at a time without `--jobs`.
pub(crate) const JOBS: usize = 3;

/// Look after the local store of snapshots.
#[derive(Debug, Parser)]
#[command(name = "snaprepo", version, max_term_width = 100, after_long_help = LONG_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const LONG_HELP: &str = "\
Names:
  NAME[:TAG] is a snapshot in the store; the default tag is \"latest\". Letters, digits and _ . + - are allowed, not \
starting with . or -. ./FILE, /FILE and FILE.snap name a file. REF is HOST[:PORT]/PATH[:TAG][@sha256:DIGEST], \
an image in a registry.

Environment:
  SNAPFN_STORE   search path of stores, separated by colons; the first is written to.
                 Default: $XDG_DATA_HOME/snapfn, else ~/.local/share/snapfn.
                 /var/lib/snapfn is searched last.
  SNAPFN_REGISTRY      what is put before a REF without a host
  SNAPFN_KEY_PASSWORD  password of the secret key
  DOCKER_CONFIG        directory of config.json with credentials; default ~/.docker
  REGISTRY_AUTH_FILE   another file with credentials, looked at first
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR   the way to registries
  NO_COLOR             no colours

Files:
  /etc/snapfn/config.toml, $XDG_CONFIG_HOME/snapfn/config.toml (default ~/.config/…)   settings of registries

Exit status:
  0  done
  1  a check or an operation failed; stderr has one line for each failure
  2  wrong usage";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the snapshots of all stores on the search path
    Ls {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// List the tags of a name, or of a repository in a registry
    Tags {
        /// The name or repository, without a tag
        #[arg(value_name = "NAME|REF")]
        name: OsString,
        /// For REF: speak HTTP without TLS
        #[arg(long)]
        plain_http: bool,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show a snapshot or an image: layers, sizes, requirements
    ///
    /// No layer of an image in a registry is fetched. `snapshotter inspect` shows everything in a snapshot.
    Inspect {
        /// A snapshot in the store, or an image in a registry
        #[arg(value_name = "NAME|REF")]
        name: OsString,
        /// For REF: speak HTTP without TLS
        #[arg(long)]
        plain_http: bool,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Remove tags from the store, or images from a registry
    ///
    /// `gc` then deletes the files that only these tags needed. REF is removed from its registry: with a digest, the
    /// manifest and all its tags, else the tag. A registry that cannot remove tags removes the manifest, if that is its
    /// only tag. Some registries remove nothing.
    Rm {
        /// What to remove
        #[arg(required = true, value_name = "NAME[:TAG]|REF")]
        names: Vec<OsString>,
        /// For REF: remove only the local link of the pulled image
        #[arg(long)]
        pulled: bool,
        /// For REF: speak HTTP without TLS
        #[arg(long)]
        plain_http: bool,
    },
    /// Store name and password for a registry, after the registry has accepted them
    ///
    /// They are stored where docker and podman look for them: in the credential helper that the docker configuration
    /// names for the registry, else in $DOCKER_CONFIG/config.json (default ~/.docker/config.json).
    Login {
        /// HOST[:PORT]
        host: OsString,
        /// The user's name; without it, the command asks on the terminal
        #[arg(short, long)]
        username: Option<String>,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
        /// Speak HTTP without TLS
        #[arg(long)]
        plain_http: bool,
    },
    /// Remove the stored name and password for a registry
    Logout {
        /// HOST[:PORT]
        host: OsString,
    },
    /// Delete every file of the store that no tag needs
    ///
    /// Files of snapshots that were written outside the store are kept as long as those exist. Nothing is deleted while
    /// a snapshot is being made, or if the needs of a snapshot cannot be read.
    Gc {
        /// Only print what would be deleted
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Compare the content of snapshots and of all files that they need with their digests
    ///
    /// For REF, an image in a registry: check that it is signed by one of the keys.
    Verify {
        /// Snapshots in the store, snapshot files, or images in a registry
        #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "NAME|FILE|REF")]
        names: Vec<OsString>,
        /// Every snapshot and every file of all stores on the search path
        #[arg(long)]
        all: bool,
        /// For REF: a public key of minisign, or a file with one; may be given several times. Default: the keys that
        /// the configuration demands for the registry
        #[arg(long, value_name = "KEY")]
        key: Vec<String>,
        /// For REF: speak HTTP without TLS
        #[arg(long)]
        plain_http: bool,
        /// For REF: print a JSON object for each
        #[arg(long)]
        json: bool,
    },
    /// Store a snapshot as an image in a registry
    ///
    /// The image holds snaprun, the code segment files, and the snapshot in parts; container engines run it as well.
    /// Only layers that the registry lacks are sent, and an interrupted push goes on where it stopped.
    Push(PushArgs),
    /// Bring the snapshot in an image, and all files that it needs, into the store
    ///
    /// Chunks that another snapshot of that name has are not fetched again, and an interrupted pull goes on where it
    /// stopped. Everything is compared with its digest before it appears in the store.
    Pull(PullArgs),
    /// Look for credentials in snapshots and in the files that they map
    ///
    /// Keys and tokens of well-known forms (AWS, GitHub, GitLab, Slack, Google, Stripe, npm, PyPI, private keys, JSON
    /// Web Tokens and others). Libraries are not searched. The exit status is 1 if something is found. A finding is
    /// never printed in full.
    Scan {
        /// Snapshots in the store, with all variants, or snapshot files
        #[arg(required = true, value_name = "NAME|FILE")]
        names: Vec<OsString>,
        /// Print the findings as a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Sign an image in a registry with a key of minisign
    ///
    /// The signature is stored beside the image. It covers the image's digest, not its tag.
    Sign {
        /// The image
        #[arg(value_name = "REF")]
        name: OsString,
        /// File with the secret key. The password of a protected key is read from the terminal, or is
        /// $SNAPFN_KEY_PASSWORD
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Speak HTTP without TLS
        #[arg(long)]
        plain_http: bool,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make a pair of keys: FILE signs, FILE.pub verifies
    Keygen {
        /// File of the secret key
        file: PathBuf,
        /// Do not protect the secret key by a password
        #[arg(long)]
        no_password: bool,
    },
    /// Write man pages or shell completions into a directory
    #[command(hide = true)]
    Generate {
        /// What to write
        what: Artifact,
        /// Where to write it
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The snapshot
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: OsString,
    /// Where to
    #[arg(value_name = "REF")]
    pub(crate) reference: OsString,
    /// How layers are compressed: zstd, from which pull can fetch single chunks; gzip for engines without zstd
    #[arg(long, value_name = "zstd|gzip", default_value = "zstd", value_parser = |text: &str| text.parse::<Compression>())]
    pub(crate) compression: Compression,
    /// Put the layers on top of those of another image, whose files the program then finds in a container. The registry
    /// mounts them if it has them; else they are copied from the other registry
    #[arg(long, value_name = "REF")]
    pub(crate) base: Option<String>,
    /// The snaprun that goes into the image; default: the one beside snaprepo, else on the search path
    #[arg(long, value_name = "FILE")]
    pub(crate) loader: Option<PathBuf>,
    /// Push the snapshot's memory as an init data file, too: hosts can fetch it with the code instead of the snapshot.
    /// It is in a layer beside the image, which neither containers nor an ordinary pull fetch
    #[arg(long)]
    pub(crate) init: bool,
    /// Layers at a time
    #[arg(long, value_name = "N", default_value_t = JOBS, value_parser = jobs)]
    pub(crate) jobs: usize,
    /// Push even if `snaprepo scan` finds something that looks like a credential
    #[arg(long)]
    pub(crate) allow_secrets: bool,
    /// Leave in the image how the snapshot was made and the files that it was made of, with the variables of its
    /// environment; without this option they are removed
    #[arg(long)]
    pub(crate) with_recipe: bool,
    /// Use HTTP without TLS for the registry that the image is pushed to
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Print a JSON object for each event
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The image
    #[arg(value_name = "REF")]
    pub(crate) reference: OsString,
    /// Name in the store; default: the last part of REF's path, with its tag
    #[arg(long, value_name = "NAME[:TAG]")]
    pub(crate) tag: Option<OsString>,
    /// Give it no NAME: only `snaprun REF` finds it
    #[arg(long, conflicts_with = "tag")]
    pub(crate) untagged: bool,
    /// Fetch code and init data file instead of the snapshot: FILE is written, of which `snapshotter create --init`
    /// makes the snapshot here. gc keeps the code as long as FILE exists
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tag", "untagged"])]
    pub(crate) init: Option<PathBuf>,
    /// Pull even if this machine cannot run the snapshot
    #[arg(long)]
    pub(crate) force: bool,
    /// Also pull a snapshot with memory that is writable and executable at once, which JIT compilers have: an attacker
    /// who can write to this memory decides what the program does
    #[arg(long)]
    pub(crate) allow_wx: bool,
    /// A public key of minisign, or a file with one, that must have signed the image; may be given several times (then
    /// one of them must). Default: the keys that the configuration demands for the registry
    #[arg(long, value_name = "KEY")]
    pub(crate) require_signature: Vec<String>,
    /// Layers at a time
    #[arg(long, value_name = "N", default_value_t = JOBS, value_parser = jobs)]
    pub(crate) jobs: usize,
    /// Speak HTTP without TLS
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Print a JSON object for each event
    #[arg(long)]
    pub(crate) json: bool,
}

fn jobs(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|jobs| (1..=16).contains(jobs)).ok_or("a number from 1 to 16")
}

/// What `generate` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Artifact {
    Man,
    Bash,
    Zsh,
    Fish,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
