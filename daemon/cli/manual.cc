#include "cli/manual.h"

namespace dedup {
namespace {

constexpr size_t kNameCells = 18;

// The first line of CLI11's description is the summary, the rest the description.
std::string summary_of(const CLI::App* app) {
  const std::string text = app->get_description();
  return text.substr(0, text.find('\n'));
}

std::string description_of(const CLI::App* app) {
  const std::string text = app->get_description();
  const size_t end = text.find('\n');
  return end == std::string::npos ? "" : text.substr(end + 1);
}

std::string full_name(const CLI::App* app) {
  const CLI::App* parent = app->get_parent();
  return parent == nullptr ? app->get_name() : full_name(parent) + " " + app->get_name();
}

std::string indented(const std::string& text) {
  std::string result;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && c != '\n') result += "  ";
    line_start = c == '\n';
    result += c;
  }
  return result + "\n";
}

std::string entry(std::string name, const std::string& about) {
  if (name.size() >= kNameCells)
    return "  " + name + "\n  " + std::string(kNameCells, ' ') + about + "\n";
  name.resize(kNameCells, ' ');
  return "  " + name + about + "\n";
}

class ManualFormatter final : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const override {
    std::string arguments;
    std::string options;
    std::string synopsis;
    for (const CLI::Option* option : app->get_options()) {
      const std::string about = option->get_description();
      if (option->get_positional()) {
        arguments += entry(option->get_name(true), about);
        synopsis += " " + option->get_name(true);
      } else {
        const bool takes_value = option->get_type_size() > 0;
        options += entry(
            option->get_name(false, true) + (takes_value ? " " + option->get_type_name() : ""),
            about);
      }
    }
    std::string commands;
    for (const CLI::App* command : app->get_subcommands({})) {
      commands += entry(command->get_name(), summary_of(command));
    }
    if (!commands.empty()) synopsis += " COMMAND";
    if (app->get_parent() != nullptr) {
      options += entry("--socket, --json", "as for every command, see dedupctl --help");
    }
    std::string page = "NAME\n  " + full_name(app) + " - " + summary_of(app) + "\n\nSYNOPSIS\n  " +
                       full_name(app) + " [OPTIONS]" + synopsis + "\n\nDESCRIPTION\n" +
                       indented(description_of(app));
    if (!commands.empty()) page += "\nCOMMANDS\n" + commands;
    if (!arguments.empty()) page += "\nARGUMENTS\n" + arguments;
    page += "\nOPTIONS\n" + options;
    if (const std::string footer = app->get_footer(); !footer.empty()) page += "\n" + footer + "\n";
    return page;
  }
};

}  // namespace

void describe(CLI::App& app, const std::string& summary, const std::string& description,
              const std::string& footer) {
  app.description(summary + "\n" + description);
  app.footer(footer);
}

std::shared_ptr<CLI::FormatterBase> make_manual_formatter() {
  return std::make_shared<ManualFormatter>();
}

}  // namespace dedup
