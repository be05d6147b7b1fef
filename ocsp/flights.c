/* See flights.h. That a joined answer is no older than its request follows as for any other: it has the flight's stamp,
 * and who sends it asks ocsp_job_is_current before. A change that was acknowledged before the request came has advanced
 * the stamp of a flight that had read the store before the change: then the joined job runs again. */
#include "ocsp/flights.h"

static bool same_key(const ocsp_job *a, const ocsp_job *b)
{
    return memcmp(&a->key, &b->key, sizeof(a->key)) == 0;
}

bool ocsp_flights_begin(ocsp_flights *f, ocsp_job *job, bool join)
{
    pthread_mutex_lock(&f->lock);
    ocsp_job *other = f->running;
    while (other && !same_key(other, job))
        other = other->next;
    if (!other) {
        job->joined = NULL;
        job->next = f->running;
        f->running = job;
    } else if (join) {
        job->next = other->joined;
        other->joined = job;
    }
    pthread_mutex_unlock(&f->lock);
    return !other;
}

static void give_result(const ocsp_job *from, ocsp_job *to)
{
    to->failure = from->failure;
    to->entry = from->entry ? ocsp_entry_ref(from->entry) : NULL;
    to->questions[0].stamped = from->questions[0].stamped;
    to->questions[0].stamp = from->questions[0].stamp;
}

ocsp_job *ocsp_flights_end(ocsp_flights *f, ocsp_job *job)
{
    pthread_mutex_lock(&f->lock);
    ocsp_job **link = &f->running;
    while (*link != job)
        link = &(*link)->next;
    *link = job->next;
    pthread_mutex_unlock(&f->lock);
    for (ocsp_job *j = job->joined; j; j = j->next)
        give_result(job, j);
    return job->joined;
}
