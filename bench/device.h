/* The devices of the sync benchmark: generate.c binds certificates to them, upstream.c is the directory that has them.
 * Both work their ids out from their numbers. */
#ifndef BENCH_DEVICE_H
#define BENCH_DEVICE_H

#include <stdint.h>

enum { DEVICE_GUID = 36 };
/* Of Graph's two ids of a device, the one of the directory's object and the one that certificates name. */
typedef enum { DEVICE_OBJECT_ID = 1, DEVICE_ID = 2 } device_id_kind;

/* splitmix64: ids lie anywhere among all ids, as GUIDs do. */
static inline uint64_t device_mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ x >> 27) * 0x94D049BB133111EBull;
    return x ^ x >> 31;
}

/* DEVICE_GUID characters, no end. */
static inline void device_guid(uint64_t number, device_id_kind kind, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint64_t half[] = {device_mix(4 * number + kind), device_mix(device_mix(4 * number + kind))};
    for (int i = 0, at = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            out[at++] = '-';
        out[at++] = digits[half[i / 16] >> 4 * (i % 16) & 15];
    }
}

#endif
