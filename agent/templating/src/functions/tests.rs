use super::TABLE;
use super::testing::render;

#[test]
fn every_example_renders_to_what_it_says() {
    let mut names: Vec<_> = TABLE.keys().collect();
    names.sort_unstable();
    for name in names {
        let (template, expected) = TABLE[name].example;
        assert_eq!(render(template), expected, "{name}: {template}");
        assert!(template.contains(*name), "{name} is absent from {template}");
    }
}

#[test]
fn every_name_leads_to_the_function_of_that_name() {
    for (name, function) in TABLE.iter() {
        assert_eq!(*name, function.name);
        assert!(
            !function.summary.is_empty() && function.summary.ends_with('.'),
            "{name}"
        );
    }
}
