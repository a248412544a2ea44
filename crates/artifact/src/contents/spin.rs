//! A Spin application: the locked manifest says which layer is which component. Format: `spin registry push` of Spin 2 and 3,
//! <https://github.com/spinframework/spin>, crate `locked-app`.

use oci_spec::image::{Descriptor, Digest};
use serde::Deserialize;

use crate::{
    Error,
    bounds::MAX_LAYERS,
    bundle::{Format, Kind, Listing, Member, listed},
};

/// Files of one application that are listed.
const MAX_FILES: usize = 10_000;

/// The part of a locked application that says where things are.
#[derive(Debug, Deserialize)]
pub(super) struct Application {
    components: Vec<Component>,
}

#[derive(Debug, Deserialize)]
struct Component {
    id: String,
    source: Content,
    #[serde(default)]
    files: Vec<File>,
}

#[derive(Debug, Deserialize)]
struct File {
    path: String,
    content: Content,
}

#[derive(Debug, Deserialize)]
struct Content {
    digest: Option<Digest>,
    /// Small files, in base 64.
    inline: Option<String>,
}

impl Application {
    /// # Errors
    /// It is no locked application, or of more components than there may be layers.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Error> {
        let application: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::Invalid(format!("the locked Spin application is not read: {error}")))?;
        let files: usize = application.components.iter().map(|component| component.files.len()).sum();
        for (what, count, most) in
            [("components", application.components.len(), MAX_LAYERS), ("files", files, MAX_FILES)]
        {
            if count > most {
                return Err(Error::OverLimit(format!(
                    "the Spin application has {count} {what}, and at most {most} are read"
                )));
            }
        }
        Ok(application)
    }

    /// The layer of a component, by its id; without an id, of the only one.
    ///
    /// # Errors
    /// There is no such component, several could be meant, or its layer is not in the manifest.
    pub(super) fn component<'l>(&self, id: Option<&str>, layers: &'l [Descriptor]) -> Result<&'l Descriptor, Error> {
        let ids = || listed(self.components.iter().map(|component| &component.id));
        let found = match (id, self.components.as_slice()) {
            (None, [only]) => only,
            (None, several) => {
                let first = several.first().map_or("", |component| component.id.as_str());
                return Err(Error::NotFound(format!(
                    "it is a Spin application of {} components, {}; name one: `bundle://REF#{first}`",
                    several.len(),
                    ids()
                )));
            }
            (Some(id), components) => components.iter().find(|component| component.id == id).ok_or_else(|| {
                Error::NotFound(format!("the Spin application has no component `{id}`; it has {}", ids()))
            })?,
        };
        found.source.layer(layers).ok_or_else(|| {
            Error::Invalid(format!(
                "the component `{}` of the Spin application is in no layer of the manifest",
                found.id
            ))
        })
    }

    /// Components by their ids, and the files they are given. Whether a component is one
    /// or a core module is not known without its bytes.
    pub(super) fn listing(&self, layers: &[Descriptor]) -> Listing {
        let mut members = Vec::new();
        for component in &self.components {
            let size = component.source.layer(layers).map_or(0, Descriptor::size);
            members.push(Member { name: component.id.clone(), size, kind: Kind::Component });
            for file in &component.files {
                let inline = file.content.inline.as_deref().map(|text| (text.len() as u64) / 4 * 3);
                let size = file.content.layer(layers).map(Descriptor::size).or(inline).unwrap_or(0);
                members.push(Member {
                    name: format!("{}{}", component.id, rooted(&file.path)),
                    size,
                    kind: Kind::File,
                });
            }
        }
        Listing { format: Format::Spin, members }
    }
}

fn rooted(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

impl Content {
    fn layer<'l>(&self, layers: &'l [Descriptor]) -> Option<&'l Descriptor> {
        let digest = self.digest.as_ref()?;
        layers.iter().find(|layer| layer.digest() == digest)
    }
}
