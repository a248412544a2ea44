//! Refuses component types that are nested too deep to be read by recursion.
//!
//! The parser reads a type inside an instance type inside a component type by calling itself, without a limit of its
//! own: three bytes a level, so a file of a megabyte would overflow the stack and end the process. This check walks
//! the same bytes with the parser's own readers and a stack on the heap, before anything else sees them.

use wasmparser::{
    BinaryReader, ComponentAlias, ComponentExternName, ComponentImport, ComponentType, ComponentTypeRef, Payload,
};

use crate::{
    MAX_NESTING, ReadError,
    read::{Stop, parser, section_name},
};

/// Levels of instance and component types inside each other; the parser's own limit for everything but reading.
const MAX_TYPE_NESTING: usize = 100;

/// Checks a whole file: its levels of components, and the types in each.
pub(crate) fn check(bytes: &[u8]) -> Result<(), ReadError> {
    let mut depth = 0usize;
    let mut section = "header";
    for payload in parser().parse_all(bytes) {
        let payload = payload.map_err(|error| ReadError::malformed(&error, section))?;
        section = section_name(&payload);
        let result = match &payload {
            Payload::Version { range, .. } => {
                depth += 1;
                check_depth(depth, range.start)
            }
            Payload::End(_) => {
                depth = depth.saturating_sub(1);
                Ok(())
            }
            Payload::ComponentTypeSection(types) => {
                check_types(bytes.get(types.range()).unwrap_or_default(), types.range().start)
            }
            _ => Ok(()),
        };
        result.map_err(|stop| stop.in_section(section))?;
    }
    Ok(())
}

/// Refuses components nested deeper than [`MAX_NESTING`].
pub(crate) fn check_depth(depth: usize, offset: usize) -> Result<(), Stop> {
    if depth <= MAX_NESTING {
        return Ok(());
    }
    Err(Stop::TooMuch { offset, message: format!("more than {MAX_NESTING} levels of nested components") })
}

/// Checks the contents of one component type section, which start `offset` bytes into the file.
pub(crate) fn check_types(contents: &[u8], offset: usize) -> Result<(), Stop> {
    let mut reader = BinaryReader::new(contents, offset);
    let count = reader.read_var_u32()?;
    for _ in 0..count {
        check_type(&mut reader)?;
    }
    Ok(())
}

/// Reads past one type.
fn check_type(reader: &mut BinaryReader<'_>) -> Result<(), Stop> {
    /// The bytes that open a component type and an instance type.
    const COMPONENT: u8 = 0x41;
    const INSTANCE: u8 = 0x42;
    // Declarations still to be read at each open level, and whether imports are legal there.
    let mut open: Vec<(u32, u8)> = Vec::new();
    loop {
        // Here a type starts.
        let mut ahead = reader.clone();
        let kind = ahead.read_u8()?;
        if kind == COMPONENT || kind == INSTANCE {
            if open.len() >= MAX_TYPE_NESTING {
                let message = format!("more than {MAX_TYPE_NESTING} levels of nested types");
                return Err(Stop::TooMuch { offset: reader.original_position(), message });
            }
            let declarations = ahead.read_var_u32()?;
            *reader = ahead;
            open.push((declarations, kind));
        } else {
            reader.read::<ComponentType<'_>>()?;
        }
        // Read on to the next declaration that is a type, closing the levels that are done.
        loop {
            let Some((left, kind)) = open.last_mut() else { return Ok(()) };
            if *left == 0 {
                open.pop();
                continue;
            }
            *left -= 1;
            match reader.read_u8()? {
                0x00 => {
                    reader.read::<wasmparser::CoreType<'_>>()?;
                }
                0x01 => break,
                0x02 => {
                    reader.read::<ComponentAlias<'_>>()?;
                }
                0x03 if *kind == COMPONENT => {
                    reader.read::<ComponentImport<'_>>()?;
                }
                0x04 => {
                    reader.read::<ComponentExternName<'_>>()?;
                    reader.read::<ComponentTypeRef>()?;
                }
                byte => {
                    let message = format!("`0x{byte:x}` does not start a declaration");
                    return Err(Stop::TooMuch { offset: reader.original_position().saturating_sub(1), message });
                }
            }
        }
    }
}
