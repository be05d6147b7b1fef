"""A directory collection (users or devices) with a change log: what stands behind the Graph fake.

A collection knows its objects, those that were deleted, and every change in order. A delta round is a list of
entries made from that log; the fake pages and distorts it, the collection itself never lies.
"""

import uuid

NAMESPACE = uuid.UUID("5f0c1d1e-8f6e-4f0b-9b6a-0d8f5f6f7a11")


def stable_id(text):
    """The same name gives the same GUID in every run."""
    return str(uuid.uuid5(NAMESPACE, text))


class Change:
    """One line of the log: the object, the properties that changed, and the entry a client sees for it."""

    __slots__ = ("id", "properties", "entry")

    def __init__(self, object_id, properties, entry):
        self.id, self.properties, self.entry = object_id, frozenset(properties), entry


class Collection:
    def __init__(self):
        self.objects = {}  # id -> properties
        self.deleted = {}  # id -> properties when it went, for restore
        self.log = []  # a position in the log is a point in time
        self.strangers = {}  # id -> properties of what is not really there
        self.round_starts = []  # positions, for the lag switch

    def now(self):
        return len(self.log)

    def _append(self, object_id, properties, entry):
        self.log.append(Change(object_id, properties, entry))

    def add(self, properties):
        if properties["id"] in self.objects:
            raise ValueError("there is an object %s already" % properties["id"])
        self.objects[properties["id"]] = dict(properties)
        self.deleted.pop(properties["id"], None)
        self._append(properties["id"], properties, dict(properties))

    def update(self, object_id, properties):
        self.objects[object_id].update(properties)
        self._append(object_id, properties, dict(self.objects[object_id]))

    def delete(self, object_id, reason):
        """`changed` is a soft delete that can be restored, `deleted` is for good; one may follow the other."""
        if object_id in self.objects:
            self.deleted[object_id] = self.objects.pop(object_id)
        elif object_id not in self.deleted:
            raise KeyError(object_id)
        if reason == "deleted":
            self.deleted[object_id] = None
        self._append(object_id, (), {"id": object_id, "@removed": {"reason": reason}})

    def restore(self, object_id):
        self.add(self.deleted[object_id])

    def forget(self, object_id):
        """Gone without a trace in the log: what a client with an expired delta token has missed."""
        del self.objects[object_id]

    # ---- rounds ----
    def full(self):
        """Ids that a full round lists, and until when it is valid."""
        return list(self.objects), self.now()

    def since(self, start, end):
        """Ids changed in (start, end], ordered by their last change."""
        last = {}
        for position in range(start, end):
            last[self.log[position].id] = position
        return sorted(last, key=last.get)

    def changed_properties(self, object_id, start):
        names = set()
        for change in self.log[start:]:
            if change.id == object_id:
                names |= change.properties
        return names

    def history(self, object_id, end):
        """Every entry that object had before position `end`, oldest first."""
        return [change.entry for change in self.log[:end] if change.id == object_id]

    def current(self, object_id):
        """The entry as it is now, None when it vanished without a trace."""
        if object_id in self.strangers:
            return dict(self.strangers[object_id])
        if object_id in self.objects:
            return dict(self.objects[object_id])
        for change in reversed(self.log):
            if change.id == object_id:
                return change.entry if "@removed" in change.entry else None
        return None
