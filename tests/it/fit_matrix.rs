//! Every contract's verdict on every committed guest, as a golden file: who claims what, how surely and why.

use std::{collections::BTreeMap, fmt::Write, fs};

use samara_inspect::Module;

use crate::{golden, guests};

#[test]
fn every_contract_judges_every_guest_and_no_two_claim_one_equally() {
    let (mut matrix, mut ties) = (String::new(), String::new());
    for path in guests() {
        let file = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let module = Module::read(&samara_inspect::read_any(&file, Some(&path)).unwrap());
        let mut module = module.unwrap_or_else(|error| panic!("{name}: {error}"));
        if module.becomes_component() {
            module = Module::read(&samara_inspect::componentize(&module, &file).unwrap()).unwrap();
        }
        let verdicts = samara_runtime::verdicts(samara_contract::ALL, &module);
        writeln!(matrix, "{name}").unwrap();
        if verdicts.is_empty() {
            writeln!(matrix, "  nobody's").unwrap();
        }
        let mut claims = BTreeMap::new();
        for (contract, fit) in verdicts {
            let (shape, confidence) = (fit.shape.as_str(), fit.confidence.as_str());
            writeln!(matrix, "  {shape:<9}{:<10}{confidence:<9} {}", contract.name(), fit.why).unwrap();
            if let Some(other) = claims.insert((shape, confidence), contract.name()) {
                writeln!(ties, "{name}: {shape} is claimed as {confidence} by {other} and {}", contract.name())
                    .unwrap();
            }
        }
    }
    assert!(ties.is_empty(), "two contracts claim one guest for one shape with equal confidence:\n{ties}");
    golden::check("fit_matrix.txt", &matrix);
}
