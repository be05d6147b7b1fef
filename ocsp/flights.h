/* Identical misses at the same time (single flight): one is answered by the store and the signer, the others wait for
 * its answer. Any thread of the pool; what is here lies in the jobs. */
#ifndef RL_OCSP_FLIGHTS_H
#define RL_OCSP_FLIGHTS_H

#include <pthread.h>

#include "ocsp/answer.h"

typedef struct ocsp_flights {
    pthread_mutex_t lock;
    ocsp_job *running; /* no more than the pool has threads */
} ocsp_flights;

/* A cacheable job begins: true. False when one with its key is under way: with `join` it is given to that, which gives
 * it back by ocsp_flights_end, at any moment from now on. */
bool ocsp_flights_begin(ocsp_flights *f, ocsp_job *job, bool join);
/* The job has its result: returns those who joined it (by `next`), with the same result each. */
ocsp_job *ocsp_flights_end(ocsp_flights *f, ocsp_job *job);

#endif
