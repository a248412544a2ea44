//! What a manifest says of its components and links, before anything is made of it.

use super::values::Values;
use crate::{
    document::{Item, Table},
    names::Names,
    note::Severity,
};

/// A component, or a provider.
pub(super) struct Component<'a> {
    /// Its name in the manifest, by which links find it.
    pub(super) name: &'a str,
    /// Its name here.
    pub(super) legal_name: String,
    pub(super) is_provider: bool,
    pub(super) item: Item<'a>,
    pub(super) image: Option<Item<'a>>,
    pub(super) config: Values<'a>,
    pub(super) secrets: Vec<Secret<'a>>,
    /// Calls at once.
    pub(super) instances: Option<u64>,
    pub(super) links: Vec<Link<'a>>,
}

/// A link from the component that it stands in.
pub(super) struct Link<'a> {
    pub(super) item: Item<'a>,
    /// `wasi:http`.
    pub(super) package: String,
    pub(super) interfaces: Vec<&'a str>,
    pub(super) name: &'a str,
    pub(super) target: &'a str,
    pub(super) source_values: Values<'a>,
    pub(super) target_values: Values<'a>,
    pub(super) secrets: Vec<Secret<'a>>,
}

/// A secret that is kept elsewhere.
pub(super) struct Secret<'a> {
    pub(super) item: Item<'a>,
    pub(super) name: String,
    /// Where it is kept, for people: policy, key, field, version.
    pub(super) place: String,
}

impl<'a> Component<'a> {
    /// Reads a component to its end.
    pub(super) fn read(item: &Item<'a>, names: &mut Names) -> Option<Self> {
        let mut table = item.table()?;
        let name = table.text("name").unwrap_or_default();
        let kind = table.text("type").unwrap_or_default();
        let is_provider = match kind {
            "component" | "actor" => false,
            "capability" => true,
            _ => {
                item.lost(&format!("a component of the type `{kind}`"), "it is a `component` or a `capability`");
                return None;
            }
        };
        let mut component = Self {
            name,
            legal_name: names.claim(name, "component"),
            is_provider,
            item: item.clone(),
            image: None,
            config: Values::default(),
            secrets: Vec::new(),
            instances: None,
            links: Vec::new(),
        };
        if component.legal_name != name {
            item.changed("the name", &format!("it is `{}` here", component.legal_name));
        }
        if let Some(mut properties) = table.take("properties").and_then(|item| item.table()) {
            component.image = properties.take("image");
            if let Some(item) = properties.take("id") {
                item.info("its id in the lattice", "there is none here");
            }
            if let Some(item) = properties.take("application") {
                item.lost(
                    "a component of another application",
                    "an app has its own workloads; name the artifact here too",
                );
            }
            component.config = Values::read(properties.take("config"));
            component.secrets = secrets(properties.take("secrets"));
            properties.finish();
        }
        for item in table.take("traits").map(|item| item.list()).unwrap_or_default() {
            component.read_trait(&item);
        }
        table.finish();
        Some(component)
    }

    fn read_trait(&mut self, item: &Item<'a>) -> Option<()> {
        let mut table = item.table()?;
        let kind = table.text("type").unwrap_or_default();
        let properties = table.take("properties");
        table.finish();
        match kind {
            "link" => self.links.extend(Link::read(item, properties?.table()?)),
            "spreadscaler" | "daemonscaler" => self.read_scaler(properties?.table()?),
            _ => item.lost(&format!("a trait of the type `{kind}`"), "it is not known here"),
        }
        Some(())
    }

    fn read_scaler(&mut self, mut table: Table<'a>) {
        let instances = table.take("instances").or_else(|| table.take("replicas"));
        self.instances = instances.as_ref().and_then(Item::number);
        if let Some(item) = instances.filter(|_| self.is_provider) {
            item.info("how often the provider runs", "what it does is part of this host");
        }
        if let Some(item) = table.take("spread") {
            item.lost(
                "on which hosts it runs",
                "this host serves what it is told to; choose by which app each host is given",
            );
        }
        table.finish();
    }

    /// What its image is called, without registry and version: `keyvalue-redis`.
    pub(super) fn image_name(&self) -> &'a str {
        let image = self.image.as_ref().filter(|item| item.is_text()).and_then(Item::text).unwrap_or_default();
        let name = image.rsplit('/').next().unwrap_or_default();
        name.split([':', '@']).next().unwrap_or_default()
    }
}

impl<'a> Link<'a> {
    fn read(item: &Item<'a>, mut table: Table<'a>) -> Option<Self> {
        let namespace = table.text("namespace").unwrap_or_default();
        let package = table.text("package").unwrap_or_default();
        let interfaces = table.take("interfaces").map(|item| item.texts()).unwrap_or_default();
        let name = table.text("name").unwrap_or("default");
        let mut link = Self {
            item: item.clone(),
            package: format!("{namespace}:{package}"),
            interfaces: interfaces.into_iter().map(|(_, name)| name).collect(),
            name,
            target: "",
            source_values: Values::read(table.take("source_config")),
            target_values: Values::read(table.take("target_config")),
            secrets: Vec::new(),
        };
        if let Some(mut source) = table.take("source").and_then(|item| item.table()) {
            // The source is the component that the link stands in, whatever it is called here.
            source.take("name");
            link.source_values.add(source.take("config"));
            link.secrets.extend(secrets(source.take("secrets")));
            source.finish();
        }
        match table.take("target") {
            Some(target) if target.is_table() => {
                let mut target = target.table()?;
                link.target = target.text("name").unwrap_or_default();
                link.target_values.add(target.take("config"));
                link.secrets.extend(secrets(target.take("secrets")));
                target.finish();
            }
            Some(target) => link.target = target.text()?,
            None => table.note(Severity::Lost, "the link", "it has no target"),
        }
        // Of versions before links had configurations.
        link.target_values.add_pairs(table.take("values"));
        table.finish();
        Some(link)
    }

    /// Whether it is of a package, and of one of its interfaces.
    pub(super) fn is_of(&self, package: &str, interfaces: &[&str]) -> bool {
        self.package == package && self.interfaces.iter().any(|name| interfaces.contains(name))
    }

    /// What it joins, for people.
    pub(super) fn shown(&self) -> String {
        format!("`{}/{}`", self.package, self.interfaces.join(","))
    }
}

fn secrets<'a>(item: Option<Item<'a>>) -> Vec<Secret<'a>> {
    let read = |item: Item<'a>| {
        let mut table = item.table()?;
        let name = table.text("name")?.to_owned();
        let mut place = Vec::new();
        if let Some(mut properties) = table.take("properties").and_then(|item| item.table()) {
            for key in ["policy", "key", "field", "version"] {
                let value = properties.take(key).and_then(|item| item.scalar());
                place.extend(value.map(|value| format!("{key} `{value}`")));
            }
            properties.finish();
        }
        table.finish();
        Some(Secret { item, name, place: place.join(", ") })
    };
    item.map(|item| item.list()).unwrap_or_default().into_iter().filter_map(read).collect()
}
