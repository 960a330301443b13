//! What a snapshot was made of: the notes that a loader and other programs read. An accepted note can be walked, and
//! written again it is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapfn_format::snap::notes::*;

fuzz_target!(|data: &[u8]| {
    if let Some(headers) = note_headers(data, data.len() as u64) {
        let headers = &data[headers.start as usize..headers.end as usize];
        if let Some(segment) = notes_segment(headers, data.len() as u64) {
            walk(&data[segment.start as usize..segment.end as usize]);
        }
    }
    walk(data);
    if let Ok(recipe) = Recipe::parse(data) {
        let mut writer = RecipeWriter::default();
        recipe.texts().for_each(|(part, text)| writer.add(part, text.to_bytes()));
        writer.set(recipe.flags);
        let words = recipe.all(Part::Word).count();
        assert!(recipe.kept as usize <= words && recipe.umask <= 0o777);
        assert_eq!(writer.build(recipe.umask, recipe.kept), data);
    }
    if let Ok(inputs) = Inputs::parse(data) {
        let mut writer = InputsWriter::default();
        for input in inputs.iter() {
            assert_eq!(input.path.to_bytes().first(), Some(&b'/'));
            writer.add(&input);
        }
        if !inputs.is_complete() {
            writer.set_incomplete();
        }
        assert_eq!(inputs.iter().count(), inputs.count() as usize);
        let written = writer.build();
        assert_eq!(Inputs::parse(&written).map(|again| again.count()), Ok(inputs.count()));
    }
});

fn walk(segment: &[u8]) {
    let mut last = 0;
    for note in own_notes(segment) {
        assert!(note.kind_at >= last && note.content.len() as u64 <= NOTES_MAX);
        assert_eq!(&segment[note.content_at..][..note.content.len()], note.content);
        last = note.content_at + note.content.len();
    }
}
