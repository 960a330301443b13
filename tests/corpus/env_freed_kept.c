//! variants: O2,static
//! create: --keep-environment
//! run: | | | 0
#include "env_freed.c"
