// --help in the shape of a manual page. Main thread.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <memory>
#include <string>

namespace dedup {

// What the page of `app` says beside its options and commands.
void describe(CLI::App& app, const std::string& summary, const std::string& description,
              const std::string& footer);

std::shared_ptr<CLI::FormatterBase> make_manual_formatter();

}  // namespace dedup
