use super::*;
use std::vec::Vec;

fn recipe() -> Vec<u8> {
    let mut recipe = RecipeWriter::default();
    recipe.add(Part::Program, b"/usr/bin/python3");
    recipe.add(Part::Word, b"python3");
    recipe.add(Part::Word, b"app.py");
    recipe.add(Part::Directory, b"/srv");
    recipe.add(Part::Variable, b"LANG=C");
    recipe.add(Part::Withheld, b"API_TOKEN");
    recipe.build(0o22, 1)
}

fn an_input(path: &CStr) -> Input<'_> {
    Input { size: 5, modified: -7, inode: 9, digest: Digest([3; 32]), flags: INPUT_HASHED, path }
}

fn inputs() -> Vec<u8> {
    let mut inputs = InputsWriter::default();
    inputs.add(&an_input(c"/etc/app.conf"));
    inputs.add(&Input { flags: INPUT_ABSENT, ..an_input(c"/etc/other") });
    inputs.build()
}

fn segment() -> Vec<u8> {
    let mut segment = Vec::new();
    push_note(&mut segment, NOTES_OWNER, NOTE_RECIPE, &recipe());
    push_note(&mut segment, NOTES_OWNER, NOTE_INPUTS, &inputs());
    push_note(&mut segment, b"CORE\0", 1, &[1; 9]);
    segment
}

#[test]
fn what_is_written_is_read() {
    let note = recipe();
    let recipe = Recipe::parse(&note).unwrap();
    assert_eq!((recipe.flags, recipe.umask, recipe.kept), (0, 0o22, 1));
    assert_eq!(recipe.all(Part::Word).collect::<Vec<_>>(), [c"python3", c"app.py"]);
    assert_eq!(recipe.all(Part::Withheld).collect::<Vec<_>>(), [c"API_TOKEN"]);
    assert_eq!(recipe.texts().count(), 6);
    let note = inputs();
    let inputs = Inputs::parse(&note).unwrap();
    assert!(inputs.is_complete() && inputs.count() == 2);
    let both: Vec<_> = inputs.iter().collect();
    assert_eq!(both, [an_input(c"/etc/app.conf"), Input { flags: INPUT_ABSENT, ..an_input(c"/etc/other") }]);
}

#[test]
fn notes_are_found_in_front_of_others() {
    let segment = segment();
    assert_eq!(own_notes(&segment).map(|note| note.kind).collect::<Vec<_>>(), [NOTE_RECIPE, NOTE_INPUTS]);
    assert_eq!(own_note(&segment, NOTE_INPUTS), Some(&inputs()[..]));
    for note in own_notes(&segment) {
        assert_eq!(u32_at(&segment, note.kind_at), Some(note.kind));
        assert_eq!(&segment[note.content_at..][..note.content.len()], note.content);
    }
}

#[test]
fn damaged_notes_are_refused_or_harmless() {
    let (recipe, inputs, segment) = (recipe(), inputs(), segment());
    for len in 0..recipe.len() {
        assert!(Recipe::parse(&recipe[..len]).is_err(), "{len}");
    }
    for len in 0..inputs.len() {
        assert!(Inputs::parse(&inputs[..len]).is_err(), "{len}");
    }
    for len in 0..segment.len() {
        assert!(own_notes(&segment[..len]).count() <= 2);
    }
    let with = |bytes: &[u8], at: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = byte;
        bytes
    };
    for at in 0..recipe.len() {
        for byte in [0, 1, 0x7f, 0xff] {
            if let Ok(recipe) = Recipe::parse(&with(&recipe, at, byte)) {
                assert!(recipe.texts().count() <= 6 && recipe.kept <= 2);
            }
        }
    }
    for at in 0..inputs.len() {
        for byte in [0, 1, 0x7f, 0xff] {
            if let Ok(inputs) = Inputs::parse(&with(&inputs, at, byte)) {
                assert!(inputs.iter().all(|input| input.path.to_bytes()[0] == b'/'));
            }
        }
    }
    assert_eq!(Inputs::parse(&with(&inputs, 0, 2)), Err(FormatError::Version(2)));
    assert_eq!(Inputs::parse(&with(&inputs, 7, 9)), Err(FormatError::TooLarge("the number of inputs")));
}

#[test]
fn what_is_too_much_is_said() {
    let mut many = InputsWriter::default();
    (0..INPUTS_MAX + 1).for_each(|_| many.add(&an_input(c"/x")));
    let note = many.build();
    let many = Inputs::parse(&note).unwrap();
    assert!(!many.is_complete() && many.count() == INPUTS_MAX);
    let mut long = InputsWriter::default();
    let path = std::ffi::CString::new(["/"].repeat(4000).concat()).unwrap();
    (0..2000).for_each(|_| long.add(&an_input(&path)));
    let note = long.build();
    assert!(note.len() as u64 <= NOTES_MAX && !Inputs::parse(&note).unwrap().is_complete());
    let mut recipe = RecipeWriter::default();
    recipe.add(Part::Word, &[b'x'; 2 << 20]);
    recipe.add(Part::Word, b"a\0b");
    let note = recipe.build(0, 0);
    let recipe = Recipe::parse(&note).unwrap();
    assert!(recipe.flags == RECIPE_CUT && recipe.texts().count() == 0);
}

#[test]
fn the_segment_is_the_second_program_header_s() {
    let mut elf = [0; 64];
    elf[32..40].copy_from_slice(&64u64.to_le_bytes());
    elf[56] = 2;
    assert_eq!(note_headers(&elf, 176), Some(64..176));
    assert_eq!(note_headers(&elf, 175), None);
    let mut headers = [0; 112];
    headers[56] = 4;
    headers[64..72].copy_from_slice(&200u64.to_le_bytes());
    headers[88..96].copy_from_slice(&50u64.to_le_bytes());
    assert_eq!(notes_segment(&headers, 250), Some(200..250));
    assert_eq!(notes_segment(&headers, 249), None);
    headers[64..72].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(notes_segment(&headers, u64::MAX), None);
    elf[56] = 1;
    assert_eq!(note_headers(&elf, 176), None);
    elf[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
    elf[56] = 2;
    assert_eq!(note_headers(&elf, u64::MAX), None);
}
