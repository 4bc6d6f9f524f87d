//! Completion for bash and zsh, made from the table: `dpip completion SHELL`.
//!
//! Pure but for the printing. What is offered for a word: objects, then the
//! commands of the object, then the keywords of the command; behind a keyword
//! its values, and devices where one is wanted.

use std::fmt::Write as _;

use crate::failure::Failure;
use crate::help;
use crate::out::Out;
use crate::table::{Arg, COMMAND_WORDS, Command, OPTIONS, Object, choices};

/// Prints the completion for a shell.
pub(crate) fn print(out: &mut Out, shell: &str) -> Result<(), Failure> {
    let text = match shell {
        "bash" => bash(),
        "zsh" => zsh(),
        other => {
            return Err(Failure::invalid(format!(
                "no completion for `{other}': bash or zsh"
            )));
        }
    };
    out.print(&text)?;
    out.flush()
}

/// Every option as it is typed.
fn options() -> String {
    let mut words = Vec::new();
    for opt in &OPTIONS {
        words.push(format!("-{}", opt.letter));
        words.extend(opt.long.iter().map(|long| format!("--{long}")));
    }
    words.join(" ")
}

/// What may follow an object and a command, besides names.
fn keywords(object: &Object, command: Command) -> Vec<&'static str> {
    let rows = object.rows.iter().filter(|row| row.command == command);
    let mut words = Vec::new();
    for arg in rows.flat_map(|row| row.args) {
        if arg.key.is_empty() {
            words.extend(choices(object, arg.value));
        } else {
            words.extend(arg.keys());
        }
    }
    unique(words)
}

fn unique(words: Vec<&'static str>) -> Vec<&'static str> {
    let mut seen = Vec::new();
    for word in words {
        if !seen.contains(&word) {
            seen.push(word);
        }
    }
    seen
}

/// Whether a value is, or may be, a device.
fn wants_device(arg: &Arg) -> bool {
    arg.value.split('|').any(|part| part == "DEV")
}

/// The first lines of both: a table of what follows what, as lines of a `case`.
fn table() -> String {
    let mut text = String::new();
    for object in crate::OBJECTS {
        let commands = help::commands(object).join(" ");
        let _ = writeln!(text, "    {}) offer='{commands}' ;;", object.name);
        for (word, command) in COMMAND_WORDS {
            let known = object.rows.iter().any(|row| row.command == command);
            let words = keywords(object, command);
            if known && !words.is_empty() {
                let words = words.join(" ");
                let _ = writeln!(text, "    {}:{word}) offer='{words}' ;;", object.name);
            }
        }
        let mut keys: Vec<&str> = Vec::new();
        for arg in object.rows.iter().flat_map(|row| row.args) {
            let values = choices(object, arg.value).join(" ");
            let device = if wants_device(arg) { " device" } else { "" };
            for key in arg.keys().filter(|_| !arg.value.is_empty()) {
                if !keys.contains(&key) {
                    keys.push(key);
                    let words = format!("{values}{device}");
                    let words = match words.trim() {
                        "" => "-",
                        words => words,
                    };
                    let _ = writeln!(text, "    {}::{key}) offer='{words}' ;;", object.name);
                }
            }
        }
        let positional = object.rows.iter().flat_map(|row| row.args);
        if positional
            .filter(|arg| arg.key.is_empty())
            .any(wants_device)
        {
            let _ = writeln!(text, "    {}:::) offer=device ;;", object.name);
        }
    }
    text
}

fn objects() -> String {
    crate::OBJECTS.map(|object| object.name).join(" ")
}

/// Letters of options that take a value.
fn valued() -> String {
    let letters = OPTIONS.iter().filter(|opt| !opt.value.is_empty());
    let names = letters.flat_map(|opt| {
        let long = opt.long.iter().map(|long| format!("--{long}"));
        [format!("-{}", opt.letter)].into_iter().chain(long)
    });
    names.collect::<Vec<_>>().join("|")
}

/// The parts that both shells understand: a function that puts what may come
/// next into `words`, given the words before.
fn common() -> String {
    format!(
        "# Made by `dpip completion': do not edit.\n\
         \n\
         # What may follow OBJECT, OBJECT:COMMAND, OBJECT::KEYWORD.\n\
         _dpip_words() {{\n  \
           offer=\n  \
           case \"$1\" in\n\
         {table}  \
           esac\n\
         }}\n\
         \n\
         # Puts what may come behind the words of the line into `offer'.\n\
         _dpip_next() {{\n  \
           local object= command= word= last= skip= kind=\n  \
           for word in \"$@\"; do\n    \
             if [ -n \"$skip\" ]; then skip=; continue; fi\n    \
             case \"$word\" in\n      \
               {valued}) skip=1; continue ;;\n      \
               -*) continue ;;\n    \
             esac\n    \
             if [ -z \"$object\" ]; then object=$word\n    \
             elif [ -z \"$command\" ]; then command=$word\n    \
             else last=$word; fi\n  \
           done\n  \
           if [ -n \"$skip\" ]; then offer=; return; fi\n  \
           if [ -z \"$object\" ]; then offer='{objects}'; return; fi\n  \
           if [ -z \"$command\" ]; then _dpip_words \"$object\"; return; fi\n  \
           if [ -n \"$last\" ]; then\n    \
             _dpip_words \"$object::$last\"\n    \
             if [ \"$offer\" = - ]; then offer=; return; fi\n    \
             if [ -n \"$offer\" ]; then _dpip_devices; return; fi\n  \
           else\n    \
             _dpip_words \"$object:::\"\n    \
             kind=$offer\n  \
           fi\n  \
           _dpip_words \"$object:$command\"\n  \
           offer=\"$offer $kind\"\n  \
           _dpip_devices\n\
         }}\n\
         \n\
         # Puts the names of the devices into the place of the word `device'.\n\
         _dpip_devices() {{\n  \
           case \" $offer \" in\n    \
             *' device '*)\n      \
               offer=\"${{offer%device*}} $(dpip link show 2>/dev/null |\n        \
                 sed -n 's/^[0-9]*: \\([^:]*\\):.*/\\1/p')\" ;;\n  \
           esac\n\
         }}\n",
        table = table(),
        valued = valued(),
        objects = objects(),
    )
}

/// For bash.
fn bash() -> String {
    format!(
        "{common}\n\
         _dpip() {{\n  \
           local offer current=${{COMP_WORDS[COMP_CWORD]}}\n  \
           case \"$current\" in\n    \
             -*) offer='{options}' ;;\n    \
             *) _dpip_next \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\" ;;\n  \
           esac\n  \
           COMPREPLY=($(compgen -W \"$offer\" -- \"$current\"))\n\
         }}\n\
         complete -F _dpip dpip\n",
        common = common(),
        options = options(),
    )
}

/// For zsh.
fn zsh() -> String {
    let mut text = "#compdef dpip\n".to_owned();
    text.push_str(&common());
    let _ = write!(
        text,
        "\n\
         _dpip() {{\n  \
           local before=(\"${{(@)words[2,CURRENT-1]}}\") current=$words[CURRENT]\n  \
           local offer\n  \
           case \"$current\" in\n    \
             -*) offer='{options}' ;;\n    \
             *) _dpip_next \"${{before[@]}}\" ;;\n  \
           esac\n  \
           compadd -- ${{=offer}}\n\
         }}\n\
         _dpip \"$@\"\n",
        options = options(),
    );
    text
}

#[cfg(test)]
mod tests;
