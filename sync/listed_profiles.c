/* The certificates that Intune lists for its single SCEP and PKCS profiles: those whose list the one of all profiles
 * does not have. Sync loop only, but for the job.
 *
 *   begin → profiles, page by page → states of a profile → commit → more of them, or the next profile … → commit → rest
 *
 * A profile whose list is not found is passed over: it may have been deleted meanwhile, and not every kind has one. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/log.h"
#include "http/login.h"
#include "sync/graph.h"
#include "sync/listing.h"

enum { PROFILES_MAX = 10000, TYPE_MAX = 128 };

#define CONFIGURATIONS "/beta/deviceManagement/deviceConfigurations"
#define STATES         "/managedDeviceCertificateStates"

typedef struct profiles_source {
    rl_listing list;
    bool listing;              /* the profiles, still */
    bool first;                /* the first page of a profile is asked for */
    char *paths[PROFILES_MAX]; /* of the lists, behind the Graph URL */
    size_t n, at;
    char *more; /* the link behind the page that is committed; NULL: it is the profile's last */
    rl_trail trail;
} profiles_source;

static void forget_round(profiles_source *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->paths[i]);
    s->n = s->at = 0;
    free(s->more);
    s->more = NULL;
    rl_trail_clear(&s->trail);
}

/* ---- which profiles ---- */
/* The name of a type of Graph's, as in a path; NULL: it is none of those with a list. Windows has its SCEP profiles
 * also below those of wireless networks. */
static const char *list_of(const char *type)
{
    static const char prefix[] = "#microsoft.graph.", suffix[] = "CertificateProfile";
    if (!type || strlen(type) > TYPE_MAX || strncmp(type, prefix, sizeof(prefix) - 1) != 0)
        return NULL;
    const char *name = type + sizeof(prefix) - 1;
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]))
            return NULL;
    if (strcmp(name, "windowsWifiEnterpriseEAPConfiguration") == 0)
        return "windowsWifiEnterpriseEAPConfiguration/identityCertificateForClientAuthentication/"
               "microsoft.graph.windows81SCEPCertificateProfile";
    return n > sizeof(suffix) && strcasecmp(name + n - (sizeof(suffix) - 1), suffix) == 0 ? name : NULL;
}

static rl_err add_profile(profiles_source *s, const rl_graph_item *item)
{
    const char *list = list_of(item->name);
    rl_buf path = {0};
    if (!list)
        return RL_OK;
    if (s->n == PROFILES_MAX)
        return RL_ERANGE;
    rl_err err = rl_buf_printf(&path, CONFIGURATIONS "/");
    if (err == RL_OK)
        err = rl_url_encode(&path, item->id);
    if (err == RL_OK)
        err = rl_buf_printf(&path, "/microsoft.graph.%s" STATES, list);
    if (err == RL_OK)
        err = rl_buf_append(&path, "", 1);
    if (err == RL_OK)
        s->paths[s->n++] = (char *)path.p;
    else
        rl_buf_free(&path);
    return err;
}

/* ---- the round ---- */
static void ask_for(profiles_source *s, const char *path)
{
    char *url = NULL;
    if (rl_graph_url(s->list.base.sync->settings, path, &url) == RL_OK)
        rl_graph_ask_start(&s->list.ask, "GET", url, NULL);
    else
        rl_listing_fail(&s->list, "out of memory", -1);
    free(url);
}

static void begin(rl_sync_source *source)
{
    profiles_source *s = (profiles_source *)source;
    forget_round(s);
    s->listing = true;
    if (rl_listing_begin(&s->list))
        ask_for(s, CONFIGURATIONS "?$select=id");
}

/* The end is a page of its own: only then it is known that there is no further profile with a list. */
static void next_profile(profiles_source *s)
{
    rl_trail_clear(&s->trail);
    s->first = true;
    if (s->at < s->n)
        ask_for(s, s->paths[s->at++]);
    else
        rl_listing_commit(&s->list, true);
}

static void follow(profiles_source *s, const char *link)
{
    s->first = false;
    if (rl_trail_repeats(&s->trail, link))
        rl_listing_fail(&s->list, "Graph's page is refused: the round's links go in a circle", -1);
    else
        rl_graph_ask_start(&s->list.ask, "GET", link, NULL);
}

static void take_profiles(profiles_source *s, const rl_graph_page *page)
{
    rl_err err = RL_OK;
    for (size_t i = 0; err == RL_OK && i < page->n; i++)
        err = add_profile(s, &page->items[i]);
    if (err != RL_OK) {
        rl_listing_fail(&s->list, err == RL_ERANGE ? "there are more than 10000 profiles" : "out of memory", -1);
    } else if (page->link) {
        follow(s, page->link);
    } else {
        s->listing = false;
        next_profile(s);
    }
}

static void take_states(profiles_source *s, const rl_graph_page *page)
{
    s->list.page = *page;
    free(s->more);
    s->more = page->link ? strdup(page->link) : NULL;
    if (page->link && !s->more)
        rl_listing_fail(&s->list, "out of memory", -1);
    else
        rl_listing_commit(&s->list, false);
}

static void take_page(profiles_source *s, rl_span body)
{
    static const rl_graph_shape profiles = {.name = "@odata.type", .listing = true, .verbatim = true};
    const rl_settings *settings = s->list.base.sync->settings;
    rl_graph_page page;
    rl_error e = {0};
    char message[RL_ERROR_MESSAGE_MAX + 32];
    if (rl_graph_page_parse(body, (size_t)settings->sync.page_limit, s->listing ? &profiles : &s->list.kind->shape,
                            settings->azure.graph_url, &page, &e) != RL_OK) {
        snprintf(message, sizeof(message), "Graph's page is refused: %s", e.message);
        rl_listing_fail(&s->list, message, -1);
    } else if (s->listing) {
        take_profiles(s, &page);
        rl_graph_page_free(&page);
    } else {
        take_states(s, &page);
    }
}

static void answered(rl_sync_source *source, const rl_http_response *r)
{
    profiles_source *s = (profiles_source *)source;
    if (r->status == 200) {
        take_page(s, r->body);
    } else if (!s->listing && s->first && (r->status == 400 || r->status == 404)) {
        log_debug("sync.profile", "source", source->name, "path", s->paths[s->at - 1], "status", r->status);
        next_profile(s);
    } else {
        rl_listing_refused(&s->list, r);
    }
}

/* ---- committed ---- */
static void next(rl_listing *list)
{
    profiles_source *s = (profiles_source *)list;
    if (s->more)
        follow(s, s->more);
    else
        next_profile(s);
}

static void committed(rl_sync_source *source, rl_err err, const rl_error *e)
{
    profiles_source *s = (profiles_source *)source;
    rl_listing_committed(&s->list, err, e, next);
}

/* ---- made by the settings ---- */
static void free_source(rl_sync_source *source)
{
    profiles_source *s = (profiles_source *)source;
    forget_round(s);
    rl_listing_clear(&s->list);
    free(s);
}

rl_err rl_profiles_make(rl_sync *sync, const char *needs)
{
    static const rl_source_kind kind = {
        .begin = begin, .token = rl_listing_token, .committed = committed, .free = free_source};
    profiles_source *s = calloc(1, sizeof(*s));
    if (!s)
        return RL_ENOMEM;
    return rl_listing_init(&s->list, &rl_intune_kinds[RL_INTUNE_PROFILE_LIST], &kind, needs, answered, sync);
}
