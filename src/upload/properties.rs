//! What a new object is given beside its bytes and metadata: tags, and the time until which nobody may delete it.

use crate::format::object_name::ObjectName;
use crate::s3::bucket::ObjectProperties;
use crate::settings::tags::{self, TagFacts};
use crate::spool::marker::Marker;
use crate::types::ids::WriterId;

use super::parts::Ports;

/// Of a segment, a mark or a whole file.
pub(super) fn of_marker(ports: &Ports, marker: &Marker) -> ObjectProperties {
    let Some(name) = ObjectName::parse(&ports.prefix, &marker.key) else {
        return given(ports, TagFacts { labels: Some(&marker.labels), ..TagFacts::default() });
    };
    let stream = match &name {
        ObjectName::Segment(key) => &key.stream,
        ObjectName::Whole(key) => &key.path,
    };
    given(ports, TagFacts { stream, writer: &name.writer().to_string(), labels: Some(&marker.labels) })
}

/// Of a registration, which is of no stream.
pub(super) fn of_registration(ports: &Ports, writer: &WriterId) -> ObjectProperties {
    given(ports, TagFacts { writer: &writer.to_string(), ..TagFacts::default() })
}

fn given(ports: &Ports, facts: TagFacts<'_>) -> ObjectProperties {
    let now = || ports.clock.now();
    ObjectProperties {
        tags: tags::all(&ports.objects.tags, facts),
        retain_until: ports.objects.retention.map(|retention| now().plus(retention.time)),
    }
}
