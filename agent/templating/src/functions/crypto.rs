//! Passwords, ciphers and keys.

mod aes;
mod generate;
mod oaep;
mod password;

use super::{Function, Parameter};

pub(super) use generate::{pem_text, random, rsa};

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "bcrypt",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The bcrypt hash of a password of at most 72 bytes, with cost 10 and a random salt.",
        source: "sprig",
        example: ("{{ bcrypt \"secret\" | trunc 7 }}", "$2a$10$"),
        call: password::bcrypt,
    },
    Function {
        name: "decryptAES",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "Decrypts, with a password, what encryptAES wrote.",
        source: "sprig",
        example: (
            "{{ decryptAES \"key\" \"FDdETj8CHsRuuwADCD4REtDpU+RZimC0rrrgbIqlWeY=\" }}",
            "hello",
        ),
        call: aes::decrypt,
    },
    Function {
        name: "derivePassword",
        parameters: &[
            Parameter::Uint32,
            Parameter::Text,
            Parameter::Text,
            Parameter::Text,
            Parameter::Text,
        ],
        variadic: None,
        result: "string",
        summary: "The Master Password of a counter, a type (`maximum`, `long`, `medium`, `short`, `basic`, `pin`), a \
                  master password, a user and a site.",
        source: "sprig",
        example: (
            "{{ derivePassword 1 \"long\" \"vis master\" \"ann\" \"vis.test\" }}",
            "Qocr1-PijiCiwm",
        ),
        call: password::derive,
    },
    Function {
        name: "encryptAES",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "Encrypts a text under a password with AES-256-CBC; base64 of the random vector and the result.",
        source: "sprig",
        example: ("{{ encryptAES \"key\" \"hello\" | b64dec | len }}", "32"),
        call: aes::encrypt,
    },
    Function {
        name: "genPrivateKey",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "A new private key in PEM of type `rsa` (4096 bits), `ecdsa` (P-256), `ed25519` or `dsa`.",
        source: "sprig",
        example: (
            "{{ genPrivateKey \"ecdsa\" | trunc 30 }}",
            "-----BEGIN EC PRIVATE KEY-----",
        ),
        call: generate::private_key,
    },
    Function {
        name: "htpasswd",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::HashAlgorithm],
        variadic: None,
        result: "string",
        summary: "A line of an htpasswd file of a user, a password and `sha` or `bcrypt`.",
        source: "sprig",
        example: (
            "{{ htpasswd \"ann\" \"vis\" \"sha\" }}",
            "ann:{SHA}Z1yE3JBnFjmHBNzYx9IUAQYwg0o=",
        ),
        call: password::htpasswd,
    },
    Function {
        name: "rsaDecrypt",
        parameters: &[
            Parameter::Text,
            Parameter::Text,
            Parameter::Text,
            Parameter::Text,
        ],
        variadic: None,
        result: "string",
        summary: "Decrypts with a scheme (`RSA-OAEP` or `None`), a hash (`SHA1`, `SHA256`, `SHA512`) and a private key in PEM; \
                  keys of 2048 to 8192 bits.",
        source: "External Secrets",
        example: ("{{ rsaDecrypt \"None\" \"\" \"text\" \"\" }}", "text"),
        call: oaep::decrypt,
    },
];
