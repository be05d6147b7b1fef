/* Certificates of our own CAs by their serial numbers, as upstreams write them. Private to the module. */
#ifndef RL_SYNC_OURS_H
#define RL_SYNC_OURS_H

#include "crypto/x509.h"
#include "store/store.h"

enum { RL_OURS_MAX = 64 };

/* Our own issuers: those whose key we have. All zero until it is first used; for one transaction. */
typedef struct rl_ours {
    bool read;
    size_t n;
    rl_issuer_id ids[RL_OURS_MAX];
} rl_ours;

/* The certificate that one of them has issued under this number, but for the CA's own; free it with rl_cert_clear.
 * RL_ENOTFOUND. Inside a transaction. */
rl_err rl_ours_find(rl_store_txn *t, rl_ours *ours, const rl_serial *serial, rl_cert_id *id, rl_cert_record *cert);
/* Whether this is the name of one of them: attributes in the one order or the other, case and spaces do not count. */
rl_err rl_ours_is_name(rl_store_txn *t, rl_ours *ours, const char *name, bool *is);

/* Counts certificates of other CAs that Intune wants revoked. Any thread. */
void rl_count_skipped(const char *source, uint64_t n);

/* A serial number or a thumbprint in hexadecimal, whatever its case, with leading zeros or without; spaces, colons and
 * hyphens between the digits do not count. RL_EBADMSG. Pure. */
rl_err rl_number_read(const char *text, rl_serial *out);

#endif
