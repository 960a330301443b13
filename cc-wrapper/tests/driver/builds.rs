//! Build systems find the same compiler behind snapcc, and their programs come out split.

use crate::support::{Sandbox, have, stdout, succeed};
use std::fs;
use std::process::Command;

const PROGRAM: &str =
    "#include <stdio.h>\nint twice(int);\nint main(void) { printf(\"%d\\n\", twice(21)); return 0; }\n";
const LIBRARY: &str = "int twice(int x) { return 2 * x; }\n";

/// `program` with the compilers of the environment: plain, or behind snapcc.
fn with_compilers(sandbox: &Sandbox, program: &str, behind: bool) -> Command {
    let mut command = sandbox.command(program);
    if behind {
        let own = |name: &str| sandbox.path("bin").join(name);
        command.env("CC", own("snapcc")).env("CXX", own("snapc++")).env("SNAPFN_CC", "gcc").env("SNAPFN_CXX", "g++");
        command.env("SNAPFN_STRICT", "1");
    } else {
        command.env("CC", "gcc").env("CXX", "g++");
    }
    command
}

fn sources(sandbox: &Sandbox) {
    sandbox.write("main.c", PROGRAM);
    sandbox.write("twice.c", LIBRARY);
    sandbox.write("plus.cc", "#include <iostream>\nint main() { std::cout << \"plus\\n\"; }\n");
}

/// The results of `configure`, from its cache, without the names of the compilers themselves.
fn autoconf_cache(sandbox: &Sandbox, behind: bool) -> Vec<String> {
    let directory = sandbox.work(if behind { "behind" } else { "plain" });
    fs::create_dir(&directory).unwrap();
    succeed(with_compilers(sandbox, "../configure", behind).current_dir(&directory).args(["-C", "--quiet"]));
    let cache = fs::read_to_string(directory.join("config.cache")).unwrap();
    let named = ["env_", "prog_CC", "prog_CXX", "prog_CPP", "prog_ac_ct_"].map(|name| format!("ac_cv_{name}"));
    let finding = |line: &&str| line.contains("_cv_") && !named.iter().any(|name| line.starts_with(name));
    cache.lines().filter(|line| !line.starts_with('#')).filter(finding).map(str::to_owned).collect()
}

#[test]
fn autoconf_and_libtool() {
    if !have(&["gcc", "g++", "autoreconf", "libtoolize", "aclocal", "make"]) {
        return;
    }
    let sandbox = Sandbox::new();
    sources(&sandbox);
    sandbox.write(
        "configure.ac",
        "AC_INIT([probe], [1])\nAC_CONFIG_MACRO_DIRS([m4])\nAC_CONFIG_AUX_DIR([aux])\nAC_PROG_CC\nAC_PROG_CXX\nAC_PROG_CPP\n\
         LT_INIT\nAC_C_INLINE\nAC_C_BIGENDIAN\nAC_CHECK_HEADERS([unistd.h no/such.h sys/prctl.h])\n\
         AC_CHECK_FUNCS([mmap no_such_function])\nAC_CHECK_SIZEOF([long])\nAC_SEARCH_LIBS([cos], [m])\nAC_SYS_LARGEFILE\n\
         AC_CONFIG_FILES([Makefile])\nAC_OUTPUT\n",
    );
    let makefile = "all: prog\ntwice.lo: @srcdir@/twice.c\n\t./libtool --quiet --tag=CC --mode=compile $(CC) -c $< -o $@\n\
        libtwice.la: twice.lo\n\t./libtool --quiet --tag=CC --mode=link $(CC) $< -rpath /usr/local/lib -o $@\n\
        main.o: @srcdir@/main.c\n\t$(CC) -c $< -o $@\n\
        prog: main.o libtwice.la\n\t./libtool --quiet --tag=CC --mode=link $(CC) main.o libtwice.la -o $@\n";
    sandbox.write("Makefile.in", &format!("CC = @CC@\n{makefile}"));
    fs::create_dir(sandbox.work("aux")).unwrap();
    fs::create_dir(sandbox.work("m4")).unwrap();
    succeed(sandbox.command("autoreconf").args(["-i", "-f"]));
    // Without automake no other tool copies this one.
    if !sandbox.work("aux/install-sh").exists() {
        sandbox.script("aux/install-sh", "exit 1");
    }
    let plain = autoconf_cache(&sandbox, false);
    assert!(plain.iter().any(|line| line.contains("ac_cv_sizeof_long=${ac_cv_sizeof_long=8}")), "{plain:?}");
    assert_eq!(autoconf_cache(&sandbox, true), plain);

    succeed(with_compilers(&sandbox, "make", true).current_dir(sandbox.work("behind")));
    assert_eq!(stdout(&mut sandbox.command(sandbox.work("behind/prog"))), "42\n");
    assert!(sandbox.work("behind/.libs/prog.code").exists() && sandbox.work("behind/.libs/prog.init").exists());
    let library: Vec<_> = fs::read_dir(sandbox.work("behind/.libs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(library.iter().any(|name| name == "libtwice.so"), "{library:?}");
    assert!(!library.iter().any(|name| name.to_string_lossy().contains(".so.code")), "{library:?}");
}

#[test]
fn cmake() {
    if !have(&["gcc", "g++", "cmake", "make"]) {
        return;
    }
    let sandbox = Sandbox::new();
    sources(&sandbox);
    sandbox.write(
        "CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.13)\nproject(probe C CXX)\ninclude(CheckCSourceCompiles)\ninclude(CheckIPOSupported)\n\
         check_c_source_compiles(\"int main(void) { return 0; }\" WORKS)\ncheck_ipo_supported(RESULT IPO)\n\
         check_c_source_compiles(\"#error no\" WORKS_NOT)\nadd_library(twice SHARED twice.c)\nadd_executable(prog main.c)\n\
         target_link_libraries(prog twice)\nadd_executable(plus plus.cc)\n",
    );
    let configure = |directory: &str, behind: bool| {
        succeed(with_compilers(&sandbox, "cmake", behind).args(["-S", ".", "-B", directory, "-G", "Unix Makefiles"]));
        // CMake's results about the compilers, without their paths and search directories.
        let mut found: Vec<String> = Vec::new();
        for version in fs::read_dir(sandbox.work(directory).join("CMakeFiles")).unwrap() {
            for name in ["CMakeCCompiler.cmake", "CMakeCXXCompiler.cmake"] {
                let text = fs::read_to_string(version.as_ref().unwrap().path().join(name)).unwrap_or_default();
                found.extend(
                    text.lines().filter(|l| !l.contains("snapc") && !l.contains("INCLUDE_DIR")).map(str::to_owned),
                );
            }
        }
        found.retain(|line| {
            !line.starts_with("set(CMAKE_C_COMPILER \"") && !line.starts_with("set(CMAKE_CXX_COMPILER \"")
        });
        assert!(found.iter().any(|line| line.contains("CMAKE_C_COMPILER_ID \"GNU\"")), "{found:?}");
        let cache = fs::read_to_string(sandbox.work(directory).join("CMakeCache.txt")).unwrap();
        found.extend(
            cache.lines().filter(|line| line.starts_with("WORKS") || line.starts_with("IPO")).map(str::to_owned),
        );
        found
    };
    let plain = configure("plain", false);
    assert_eq!(configure("behind", true), plain);
    succeed(with_compilers(&sandbox, "cmake", true).args(["--build", "behind"]));
    assert_eq!(stdout(&mut sandbox.command(sandbox.work("behind/prog"))), "42\n");
    assert_eq!(stdout(&mut sandbox.command(sandbox.work("behind/plus"))), "plus\n");
    for (file, there) in [("prog.code", true), ("prog.init", true), ("plus.code", true), ("libtwice.so.code", false)] {
        assert_eq!(sandbox.work("behind").join(file).exists(), there, "{file}");
    }
}

#[test]
fn meson() {
    if !have(&["gcc", "g++", "meson", "ninja"]) {
        return;
    }
    let sandbox = Sandbox::new();
    sources(&sandbox);
    sandbox.write(
        "meson.build",
        "project('probe', 'c', 'cpp')\ncc = meson.get_compiler('c')\n\
         message('found', cc.get_id(), cc.version(), cc.get_linker_id(), cc.sizeof('long'), cc.has_function('mmap'),\n\
           cc.has_argument('-Wno-such-flag'), cc.has_argument('-Wall'), cc.has_header('no/such.h'),\n\
           cc.has_link_argument('-Wl,-z,now'), cc.compiles('int main(void) { return 0; }'),\n\
           cc.links('int no(void); int main(void) { return no(); }'), cc.find_library('m').found())\n\
         executable('prog', 'main.c', link_with: shared_library('twice', 'twice.c'))\nexecutable('plus', 'plus.cc')\n",
    );
    let configure = |directory: &str, behind: bool| {
        let text = stdout(with_compilers(&sandbox, "meson", behind).args(["setup", directory]));
        let found: Vec<_> = text.lines().filter(|line| line.starts_with("Message: found")).map(str::to_owned).collect();
        assert_eq!(found.len(), 1, "{text}");
        found
    };
    let plain = configure("plain", false);
    assert_eq!(configure("behind", true), plain);
    succeed(with_compilers(&sandbox, "ninja", true).args(["-C", "behind"]));
    assert_eq!(stdout(&mut sandbox.command(sandbox.work("behind/prog"))), "42\n");
    assert_eq!(stdout(&mut sandbox.command(sandbox.work("behind/plus"))), "plus\n");
    for (file, there) in [("prog.code", true), ("prog.init", true), ("plus.code", true), ("libtwice.so.code", false)] {
        assert_eq!(sandbox.work("behind").join(file).exists(), there, "{file}");
    }
}
