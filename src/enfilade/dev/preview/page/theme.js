/** The style variables that a host gives to views, in the names of the specification ("Theming"). */

const pair = (light, dark) => `light-dark(${light}, ${dark})`;

const COLORS = {
  background: {
    primary: ["#ffffff", "#1b1d22"], secondary: ["#f4f5f7", "#24272e"], tertiary: ["#e9ebef", "#2f333c"],
    inverse: ["#1b1d22", "#f4f5f7"], ghost: ["transparent", "transparent"], info: ["#e6f0fd", "#15304f"],
    danger: ["#fdecec", "#4a1d20"], success: ["#e5f6ea", "#173a24"], warning: ["#fdf3dc", "#473613"],
    disabled: ["#f4f5f7", "#24272e"],
  },
  text: {
    primary: ["#1b1d22", "#eef0f4"], secondary: ["#545b67", "#b3bac6"], tertiary: ["#7a828f", "#868e9b"],
    inverse: ["#ffffff", "#1b1d22"], info: ["#0b5cad", "#8cc2ff"], danger: ["#b3261e", "#ff9e97"],
    success: ["#1a7f3c", "#7fdc9c"], warning: ["#8a5a00", "#f2c566"], disabled: ["#9aa1ac", "#6b7280"],
    ghost: ["#545b67", "#b3bac6"],
  },
  border: {
    primary: ["#d5d9e0", "#3b404b"], secondary: ["#e3e6eb", "#31353f"], tertiary: ["#eef0f3", "#292d35"],
    inverse: ["#1b1d22", "#f4f5f7"], ghost: ["transparent", "transparent"], info: ["#9cc5f2", "#2c5687"],
    danger: ["#efb4b0", "#7c3236"], success: ["#a5d9b5", "#2a6840"], warning: ["#ecd08f", "#7a5e24"],
    disabled: ["#e3e6eb", "#31353f"],
  },
  ring: {
    primary: ["#2f6feb", "#6aa2ff"], secondary: ["#9aa1ac", "#6b7280"], inverse: ["#ffffff", "#1b1d22"],
    info: ["#0b5cad", "#8cc2ff"], danger: ["#b3261e", "#ff9e97"], success: ["#1a7f3c", "#7fdc9c"],
    warning: ["#8a5a00", "#f2c566"],
  },
};

const SIZES = {
  "font-text": { xs: [12, 16], sm: [14, 20], md: [16, 24], lg: [18, 28] },
  "font-heading": { xs: [14, 20], sm: [16, 24], md: [20, 28], lg: [24, 32], xl: [30, 38], "2xl": [36, 44], "3xl": [48, 56] },
};

export function styleVariables() {
  const variables = {
    "--font-sans": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    "--font-mono": "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
    "--font-weight-normal": "400", "--font-weight-medium": "500", "--font-weight-semibold": "600",
    "--font-weight-bold": "700",
    "--border-radius-xs": "4px", "--border-radius-sm": "6px", "--border-radius-md": "8px",
    "--border-radius-lg": "12px", "--border-radius-xl": "16px", "--border-radius-full": "9999px",
    "--border-width-regular": "1px",
    "--shadow-hairline": "0 0 0 1px rgb(0 0 0 / 8%)", "--shadow-sm": "0 1px 2px rgb(0 0 0 / 12%)",
    "--shadow-md": "0 2px 8px rgb(0 0 0 / 14%)", "--shadow-lg": "0 8px 24px rgb(0 0 0 / 18%)",
  };
  for (const [kind, colors] of Object.entries(COLORS)) {
    for (const [name, [light, dark]] of Object.entries(colors)) variables[`--color-${kind}-${name}`] = pair(light, dark);
  }
  for (const [kind, sizes] of Object.entries(SIZES)) {
    for (const [name, [size, line]] of Object.entries(sizes)) {
      variables[`--${kind}-${name}-size`] = `${size}px`;
      variables[`--${kind}-${name}-line-height`] = `${line}px`;
    }
  }
  return variables;
}
