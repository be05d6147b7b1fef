/* A store in a temporary folder, certificates in it, and settings: what the tests of sync share. */
#ifndef TESTS_SYNC_FIXTURE_H
#define TESTS_SYNC_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/store.h"

typedef struct folder_store {
    char dir[32];
    rl_store *store;
} folder_store;

static inline void folder_store_open(folder_store *f)
{
    rl_error e = {0};
    if (!f->dir[0]) {
        strcpy(f->dir, "/tmp/revline-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
    }
    if (rl_store_open(f->dir, &f->store, &e) != RL_OK)
        fail_msg("%s", e.message);
}

static inline void folder_store_close(folder_store *f)
{
    rl_store_close(f->store);
    f->store = NULL;
}

static inline void folder_store_remove(folder_store *f)
{
    char command[64];
    folder_store_close(f);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
}

/* ---- certificates: serial number 1, 2, … ---- */
static inline rl_cert_id cert_id(uint8_t serial)
{
    return (rl_cert_id){.issuer = 1, .serial_n = 1, .serial = {serial}};
}

struct new_cert {
    uint8_t serial;
    rl_source source[2];
    const char *name[2];
};

static inline rl_err add_cert(rl_store_txn *t, void *arg, rl_error *e)
{
    const struct new_cert *n = arg;
    rl_cert_id id = cert_id(n->serial);
    rl_cert_record r = {
        .subject = "CN=x", .profile = "static-aad", .requester = "scep", .issued_at = 1, .not_after = 4000000000};
    (void)e;
    for (int i = 0; i < 2 && n->name[i]; i++) {
        r.bindings[i].source = n->source[i];
        strcpy(r.bindings[i].id, n->name[i]);
        r.bindings_n++;
    }
    return rl_txn_add_cert(t, &id, &r, RL_SPAN_LIT("der"), "scep");
}

/* A certificate that waits for a name (or for two). */
static inline void issue(rl_store *s, uint8_t serial, rl_source source, const char *name, rl_source source2,
                         const char *name2)
{
    struct new_cert n = {.serial = serial, .source = {source, source2}, .name = {name, name2}};
    assert_int_equal(rl_store_run(s, add_cert, &n, NULL), RL_OK);
}

static inline void issue_for_device(rl_store *s, uint8_t serial, const char *device_id)
{
    issue(s, serial, RL_SOURCE_ENTRA_DEVICE_NAME, device_id, RL_SOURCE_NONE, NULL);
}

static inline rl_status status_of(rl_store *s, uint8_t serial)
{
    rl_cert_id id = cert_id(serial);
    rl_cert_status status;
    assert_int_equal(rl_store_cert_status(s, &id, &status), RL_OK);
    return status.status;
}

#define assert_status(store, serial, expected) assert_string_equal(rl_status_name(status_of(store, serial)), expected)

static inline uint64_t last_delta(rl_store *s)
{
    rl_store_figures f;
    rl_store_figures_read(s, &f);
    return f.last_delta;
}

#endif
