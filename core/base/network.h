/* Internet addresses and networks as text, and hosts in it. Pure. */
#ifndef RL_BASE_NETWORK_H
#define RL_BASE_NETWORK_H

#include "base/span.h"

/* IPv4 addresses are ::ffff:0:0/96 (RFC 4291 §2.5.5.2), so that one form serves for both and the address of a socket
 * means the same whichever family it is of. */
typedef struct rl_address {
    uint8_t octets[16];
} rl_address;

typedef struct rl_network {
    rl_address address; /* no bit is set behind the prefix */
    unsigned prefix;    /* 0 to 128; an IPv4 network's is 96 longer than it is written */
} rl_network;

enum { RL_ADDRESS_TEXT = 46 }; /* the longest, with its NUL */

/* "192.0.2.7", "2001:db8::7"; no zone, no brackets, no port. RL_EINVAL. */
rl_err rl_address_parse(rl_span text, rl_address *out);
bool rl_address_is_v4(const rl_address *a);
/* RFC 5952 §4. */
void rl_address_text(const rl_address *a, char out[RL_ADDRESS_TEXT]);

/* "10.0.0.0/8", "2001:db8::/32"; without a prefix it is one address. RL_EINVAL; RL_ERANGE: bits behind the prefix. */
rl_err rl_network_parse(rl_span text, rl_network *out);
bool rl_network_has(const rl_network *n, const rl_address *a);

/* The host of "https://host:port/path", or of "host:port", without the brackets of an IPv6 address; in `text`. */
rl_span rl_host_of(const char *text);

#endif
