//! snaprun's command line and environment, from a kernel stack that the input fills; the addresses of `--bind`, and the
//! names and links of a store.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapfn_format::store::{ImageParts, Link, RefParts, Target};
use snapfn_loader::restore::binds::{ADDRESS_MAX, Address, Shown, Spec};
use snapfn_loader::runtime::auxv::InitialStack;
use snapfn_loader::start::args::{self, Action};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// The stack of a new process: argc, argv, envp, auxv, and what they point to.
struct Stack {
    words: Vec<u64>,
    _strings: [Vec<CString>; 2],
}

fn stack(args: &[&[u8]], env: &[&[u8]], aux: &[u8]) -> Stack {
    let strings = |texts: &[&[u8]]| texts.iter().map(|text| CString::new(*text).unwrap()).collect::<Vec<_>>();
    let (args, env) = (strings(args), strings(env));
    let addresses = |texts: &[CString]| texts.iter().map(|text| text.as_ptr() as u64).collect::<Vec<_>>();
    let mut words = vec![args.len() as u64];
    words.extend(addresses(&args));
    words.push(0);
    words.extend(addresses(&env));
    words.push(0);
    for pair in aux.as_chunks::<16>().0.iter().filter(|pair| pair[..8] != [0; 8]) {
        // These values are addresses of the kernel, which the target does not follow.
        let (kind, value) = pair.split_at(8);
        words.extend([kind, value].map(|word| u64::from_le_bytes(word.try_into().unwrap())));
    }
    words.extend([0, 0]);
    Stack { words, _strings: [args, env] }
}

fuzz_target!(|data: &[u8]| {
    // Arguments, variables and the auxiliary vector, separated by empty strings.
    let mut rest = data;
    let mut list = || {
        let mut texts = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == 0) {
            let (text, tail) = (&rest[..end], &rest[end + 1..]);
            rest = tail;
            if text.is_empty() {
                break;
            }
            texts.push(text);
        }
        texts
    };
    let (arguments, variables) = (list(), list());
    let all: Vec<&[u8]> = [&b"snaprun"[..]].into_iter().chain(arguments.iter().copied()).collect();
    let stack = stack(&all, &variables, rest);
    // SAFETY: laid out as the kernel does it, and alive until the end of this function.
    let initial = unsafe { InitialStack::at(stack.words.as_ptr() as u64) };
    assert_eq!((initial.argc, initial.envc), (all.len() as u64, variables.len() as u64));
    assert_eq!(initial.arg(initial.argc), None);
    assert!(initial.aux().count() <= rest.len() / 16);
    for variable in &variables {
        let name = variable.split(|byte| *byte == b'=').next().unwrap();
        assert!(initial.getenv(name).is_some() || !variable.contains(&b'='));
    }
    if let Ok(args) = args::parse(&initial) {
        if !matches!(args.action, Action::Help | Action::Version) {
            assert!(args.name > 0 && args.name < initial.argc);
            assert_eq!(args.parse_binds(&initial).iter().count(), args.binds);
        }
        args.fds.into_iter().flat_map(args::numbers).flatten().for_each(|fd| assert!(fd >= 0));
    }

    for text in arguments {
        check_name(text);
        check_address(text);
    }
    let bytes = &data[..data.len().min(ADDRESS_MAX)];
    let _ = (Shown(bytes).to_string(), Address::with_port(bytes, 80), Address::aside(bytes));
    // A link has one form.
    if let Some(link) = Link::parse(data) {
        assert_eq!(link.to_string().as_bytes(), data);
    }
});

/// An accepted name becomes plain path components, and prints to itself.
fn check_name(text: &[u8]) {
    let ours = Target::of(text);
    match snapfn_store::Target::parse(OsStr::from_bytes(text)) {
        Ok(snapfn_store::Target::File(path)) => assert_eq!(ours, Target::File(path.as_os_str().as_bytes())),
        Ok(snapfn_store::Target::Local(local)) => {
            let RefParts { name, tag } = RefParts::parse(text).unwrap();
            assert_eq!((name, tag), (local.name.as_str(), local.tag.as_str()));
            plain(&[name, tag]);
        }
        Ok(snapfn_store::Target::Registry(_)) => assert_eq!(ours, Target::Image(text)),
        Err(_) => assert!(!matches!(ours, Target::File(_)) && RefParts::parse(text).is_err()),
    }
    let Ok(parts) = ImageParts::parse(text) else { return };
    plain(&[&parts.name.replace('/', ImageParts::SLASH), parts.target]);
    let image = snapfn_store::Image::parse(str::from_utf8(text).unwrap()).unwrap();
    assert_eq!((parts.name, parts.target), (image.name().as_str(), image.target()));
    assert_eq!(snapfn_store::Image::parse(&image.to_string()), Ok(image));
}

/// None of them leads out of its directory.
fn plain(components: &[&str]) {
    for component in components {
        assert!(!component.is_empty() && component.len() <= 255 && !component.contains(['/', '\0']));
        assert!(!component.starts_with('.'));
    }
}

/// An accepted address prints to text with the same meaning.
fn check_address(text: &[u8]) {
    let Some(spec) = Spec::parse(text) else { return };
    let Spec::Exact(address) = spec else { return };
    assert!(spec.matches(address.bytes()) && address.bytes().len() <= ADDRESS_MAX);
    let shown = spec.to_string();
    if shown.contains('?') || shown == "(no address)" {
        return;
    }
    let again = Spec::parse(shown.as_bytes());
    assert!(again.is_some_and(|again| again.matches(address.bytes())), "{shown}");
}
