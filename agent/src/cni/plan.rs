//! Which files of the runtime's CNI directory are to be written or removed, so that the plugin is in the chain, or out of it.
//!
//! Entry points: [`install`], [`uninstall`]. Pure. A runtime uses the file whose name is the first in order, of those that
//! end in `.conflist`, `.conf` or `.json`; the latter two hold one plugin. A list gets the entry. In place of one plugin
//! a list of our own comes directly before it, and what it stands in for stays as it is.

use serde_json::Value;

use super::chain::{self, Malformed};

/// What our own lists end in.
const OWN: &str = "-weir.conflist";

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name in the directory.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// What is to be done to a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It is to be this. A file that is not there gets the mode of `like`.
    Write {
        /// The file's name.
        name: String,
        /// What it is to hold.
        content: Value,
        /// The file that it was made from.
        like: String,
    },
    /// It is to go.
    Remove {
        /// The file's name.
        name: String,
    },
}

/// What is to be done, and what cannot be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// The file that the runtime uses, when the plugin cannot be put into it, and why.
    pub fault: Option<(String, Malformed)>,
    /// Whether there is a network at all.
    pub has_network: bool,
}

/// Whether a file of this name is one that runtimes look at.
pub fn is_looked_at(name: &str) -> bool {
    [".conflist", ".conf", ".json"].iter().any(|end| name.ends_with(end))
}

/// What puts the plugin into the network that the runtime uses, and out of all others.
pub fn install(files: &[File], entry: &Value) -> Plan {
    let (own, theirs) = read(files);
    let mut plan = Plan { has_network: !theirs.is_empty(), ..Plan::default() };
    // The one name of ours that is to stay.
    let mut stays = None;
    for (index, (name, content)) in theirs.iter().enumerate() {
        let is_used = index == 0;
        match content {
            Ok(list) if name.ends_with(".conflist") => {
                let new = if is_used { chain::with(list, entry) } else { Ok(chain::without(list)) };
                match new {
                    Ok(Some(content)) => plan.write(name, content, name),
                    Ok(None) => {}
                    Err(fault) => plan.fault = Some(((*name).to_owned(), fault)),
                }
            }
            Ok(single) if is_used => match chain::list_of(single, name, entry) {
                Ok(list) => {
                    let new = own_name(name);
                    if own.iter().all(|(name, content)| **name != new || *content != list) {
                        plan.write(&new, list, name);
                    }
                    stays = Some(new);
                }
                Err(fault) => plan.fault = Some(((*name).to_owned(), fault)),
            },
            Err(fault) if is_used => plan.fault = Some(((*name).to_owned(), fault.clone())),
            Ok(_) | Err(_) => {}
        }
    }
    plan.remove(own.iter().map(|(name, _)| *name).filter(|name| Some(*name) != stays.as_deref()));
    plan
}

/// What takes the plugin out of every file.
pub fn uninstall(files: &[File]) -> Plan {
    let (own, theirs) = read(files);
    let mut plan = Plan { has_network: !theirs.is_empty(), ..Plan::default() };
    for (name, content) in &theirs {
        if let Some(content) = content.as_ref().ok().and_then(chain::without) {
            plan.write(name, content, name);
        }
    }
    plan.remove(own.iter().map(|(name, _)| *name));
    plan
}

impl Plan {
    fn write(&mut self, name: &str, content: Value, like: &str) {
        self.steps.push(Step::Write { name: name.into(), content, like: like.into() });
    }

    fn remove<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        self.steps.extend(names.map(|name| Step::Remove { name: name.into() }));
    }
}

type Own<'a> = Vec<(&'a str, Value)>;
type Theirs<'a> = Vec<(&'a str, Result<Value, Malformed>)>;

/// Our own lists, and all others, in the order of their names.
fn read(files: &[File]) -> (Own<'_>, Theirs<'_>) {
    let (mut own, mut theirs) = (Own::new(), Theirs::new());
    for file in files.iter().filter(|file| is_looked_at(&file.name)) {
        let content = chain::parse(&file.text);
        match content {
            Ok(list) if file.name.ends_with(OWN) && chain::stands_in_for(&list).is_some() => {
                own.push((&file.name, list));
            }
            content => theirs.push((&file.name, content)),
        }
    }
    theirs.sort_by_key(|(name, _)| *name);
    (own, theirs)
}

/// The name directly before that of a file of one plugin: `-` comes before `.`.
fn own_name(single: &str) -> String {
    let stem = single.rsplit_once('.').map_or(single, |(stem, _)| stem);
    format!("{stem}{OWN}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::chain::tests::ours, *};

    fn file(name: &str, content: &Value) -> File {
        File { name: name.into(), text: content.to_string() }
    }

    fn list(plugins: &[Value]) -> Value {
        json!({"cniVersion": "1.0.0", "name": "pods", "plugins": plugins})
    }

    fn bridge() -> Value {
        json!({"type": "bridge"})
    }

    /// The files after a plan.
    fn after(mut files: Vec<File>, plan: &Plan) -> Vec<File> {
        for step in &plan.steps {
            let (Step::Write { name, .. } | Step::Remove { name }) = step;
            files.retain(|file| file.name != *name);
            if let Step::Write { name, content, .. } = step {
                files.push(file(name, content));
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    }

    /// Installs, and checks that this is done then, and that it can be undone.
    fn installed(files: &[File]) -> Vec<File> {
        let done = after(files.to_vec(), &install(files, &ours()));
        assert_eq!(install(&done, &ours()).steps, []);
        assert_eq!(after(done.clone(), &uninstall(&done)), files);
        assert_eq!(uninstall(files).steps, []);
        done
    }

    #[test]
    fn the_list_that_the_runtime_uses_gets_the_entry_and_no_other() {
        let files = [file("05-a.conflist", &list(&[bridge()])), file("10-b.conflist", &list(&[bridge()]))];
        let done = installed(&files);
        assert_eq!(done[0], file("05-a.conflist", &list(&[bridge(), ours()])));
        assert_eq!(done[1], files[1]);
    }

    #[test]
    fn the_entry_follows_when_another_file_becomes_the_first() {
        let mut files = installed(&[file("10-b.conflist", &list(&[bridge()]))]);
        files.insert(0, file("05-a.conflist", &list(&[json!({"type": "ptp"})])));
        let done = after(files.clone(), &install(&files, &ours()));
        assert_eq!(done[0], file("05-a.conflist", &list(&[json!({"type": "ptp"}), ours()])));
        assert_eq!(done[1], file("10-b.conflist", &list(&[bridge()])));
    }

    #[test]
    fn one_plugin_gets_a_list_that_comes_directly_before_it() {
        for name in ["10-x.conf", "10-x.json", "x.y.conf"] {
            let single = json!({"cniVersion": "0.4.0", "name": "pods", "type": "bridge"});
            let done = installed(&[file(name, &single), file("zz.conf", &json!({"type": "loopback"}))]);
            assert_eq!(done.len(), 3);
            let own = done.iter().position(|file| file.name.ends_with(OWN)).expect("a list of ours");
            assert_eq!(done[own + 1].name, name);
            assert!(chain::is_in(&chain::parse(&done[own].text).expect("JSON")));
        }
    }

    #[test]
    fn a_list_of_ours_goes_with_what_it_stands_in_for() {
        let single = |kind: &str| file("10-x.conf", &json!({"name": "pods", "type": kind}));
        let done = installed(&[single("bridge")]);
        let gone = after(done[..1].to_vec(), &install(&done[..1], &ours()));
        assert_eq!(gone, []);

        let changed = [done[0].clone(), single("ptp")];
        let anew = after(changed.to_vec(), &install(&changed, &ours()));
        assert!(anew[0].text.contains("ptp"));

        let earlier = [vec![file("05-a.conflist", &list(&[bridge()]))], done].concat();
        let names: Vec<String> =
            after(earlier.clone(), &install(&earlier, &ours())).into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["05-a.conflist", "10-x.conf"]);
    }

    #[test]
    fn what_is_malformed_is_left_alone_and_said_and_no_other_file_is_used_for_it() {
        for text in ["{", "[]", "{}", r#"{"plugins":[]}"#] {
            let broken = File { name: "05-a.conflist".into(), text: text.into() };
            let plan = install(&[broken, file("10-b.conflist", &list(&[bridge()]))], &ours());
            assert_eq!(plan.steps, []);
            assert_eq!(plan.fault.map(|(name, _)| name).as_deref(), Some("05-a.conflist"));
        }
        let no_type = [file("05-a.conf", &json!({"name": "pods"}))];
        assert!(install(&no_type, &ours()).fault.is_some());
    }

    #[test]
    fn files_that_no_runtime_looks_at_are_nothing() {
        let others = [file(".weir", &bridge()), file("README", &bridge()), file("a.conflist.bak", &bridge())];
        assert_eq!(install(&others, &ours()), Plan::default());
    }
}
