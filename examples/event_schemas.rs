//! Writes the JSON Schema of every event type to `docs/events/`.

use std::{fs, io, path::Path};

use trolley::events::EventType;

fn main() -> io::Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events");
    fs::create_dir_all(&dir)?;
    for kind in EventType::ALL {
        let schema = serde_json::to_string_pretty(&kind.schema())?;
        fs::write(dir.join(format!("{}.json", kind.name())), schema + "\n")?;
    }
    Ok(())
}
