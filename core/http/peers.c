/* See peers.h: an open-addressing table under one lock, sized at start for all connections there can be, so
 * that it never grows and never fails. The lock is taken twice in a connection's life, for a few probes. */
#include "http/peers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

typedef struct slot {
    http_peer peer;
    size_t count; /* 0 = empty */
} slot;

struct http_peers {
    pthread_mutex_t lock;
    size_t max, per_address;
    size_t open, refused;
    uint64_t seed; /* clients choose their IPv6 addresses: they must not choose their slots */
    size_t mask;
    slot *slots;
};

rl_err http_peers_new(size_t max, size_t per_address, http_peers **out, rl_error *e)
{
    size_t cap = 64;
    while (cap < max * 2)
        cap *= 2;
    http_peers *p = calloc(1, sizeof *p);
    slot *slots = calloc(cap, sizeof *slots);
    if (p == NULL || slots == NULL) {
        free(p);
        free(slots);
        return rl_fail(e, RL_ENOMEM, "http", "out of memory");
    }
    *p = (http_peers){.max = max, .per_address = per_address, .mask = cap - 1, .slots = slots};
    pthread_mutex_init(&p->lock, NULL);
    if (getrandom(&p->seed, sizeof p->seed, 0) != (ssize_t)sizeof p->seed)
        p->seed = (uint64_t)(uintptr_t)p;
    *out = p;
    return RL_OK;
}

void http_peers_free(http_peers *p)
{
    if (p == NULL)
        return;
    pthread_mutex_destroy(&p->lock);
    free(p->slots);
    free(p);
}

http_peer http_peer_of(const rl_address *address)
{
    uint32_t v4;
    http_peer net;
    memcpy(&v4, address->octets + 12, sizeof v4);
    memcpy(&net, address->octets, sizeof net);
    return rl_address_is_v4(address) ? v4 : net;
}

uint64_t http_peer_hash(http_peer peer, uint64_t seed)
{
    uint64_t h = peer ^ seed; /* the finalizer of splitmix64 */
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

static size_t home(const http_peers *p, http_peer peer)
{
    return (size_t)http_peer_hash(peer, p->seed) & p->mask;
}

/* The peer's slot, or the empty one where it belongs. */
static size_t find(const http_peers *p, http_peer peer)
{
    size_t i = home(p, peer);
    while (p->slots[i].count != 0 && p->slots[i].peer != peer)
        i = (i + 1) & p->mask;
    return i;
}

/* Linear probing without tombstones: what stands behind the hole and may stand in it moves there. */
static void close_hole(http_peers *p, size_t hole)
{
    for (size_t i = (hole + 1) & p->mask; p->slots[i].count != 0; i = (i + 1) & p->mask) {
        size_t from_home = (i - home(p, p->slots[i].peer)) & p->mask;
        if (from_home < ((i - hole) & p->mask))
            continue;
        p->slots[hole] = p->slots[i];
        p->slots[i].count = 0;
        hole = i;
    }
}

http_entry http_peers_enter(http_peers *p, http_peer peer, bool many)
{
    http_entry entry = HTTP_ENTERED;
    pthread_mutex_lock(&p->lock);
    size_t at = find(p, peer);
    if (p->open >= p->max)
        entry = HTTP_REFUSED_ALL;
    else if (!many && p->per_address != 0 && p->slots[at].count >= p->per_address)
        entry = HTTP_REFUSED_ADDRESS;
    if (entry == HTTP_ENTERED) {
        p->slots[at].peer = peer;
        p->slots[at].count++;
        p->open++;
    } else if (p->refused < HTTP_REFUSED_MAX) {
        p->refused++;
    } else {
        entry = HTTP_DROPPED;
    }
    pthread_mutex_unlock(&p->lock);
    return entry;
}

void http_peers_leave(http_peers *p, http_peer peer, http_entry entry)
{
    if (entry == HTTP_DROPPED)
        return;
    pthread_mutex_lock(&p->lock);
    if (entry == HTTP_ENTERED) {
        size_t at = find(p, peer);
        p->open--;
        if (--p->slots[at].count == 0)
            close_hole(p, at);
    } else {
        p->refused--;
    }
    pthread_mutex_unlock(&p->lock);
}
