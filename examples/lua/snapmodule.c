/* require "snapmodule": the snapshot point for Lua.
 *
 *     local snap = require "snapmodule"
 *     if snap.ready() then arg = snap.argv() end
 */
#include <lauxlib.h>
#include <lua.h>
#include <snap.h>

/* true in a restored instance. Collects garbage first: what is not stored need not be loaded. */
static int ready(lua_State *L) {
    lua_gc(L, LUA_GCCOLLECT);
    lua_pushboolean(L, snap_ready());
    return 1;
}

/* This instance's arguments, numbered from 0 as in argv; nil in an ordinary run. */
static int instance_argv(lua_State *L) {
    char **argv = snap_argv();
    if (!argv) {
        lua_pushnil(L);
        return 1;
    }
    lua_newtable(L);
    for (int i = 0; argv[i]; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    return 1;
}

static int generation(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)snap_generation());
    return 1;
}

int luaopen_snapmodule(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"ready", ready}, {"argv", instance_argv}, {"generation", generation}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
